//! Accounts of this machine.

use callhome_settings::{Form, Mistake};

/// The name of an account, within the limits that useradd(8) has, or its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct AccountName(pub(in crate::config) Box<str>);

impl Form for AccountName {
    const NOUN: &'static str = "an account";
    const EXAMPLE: &'static str = "callhome-relay";
    const PATTERN: Option<&'static str> = Some(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,31}$");

    fn read(text: &str) -> Result<Self, Mistake> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let starts = text.starts_with(|it: char| it.is_ascii_alphanumeric() || it == '_');
        if !starts || text.len() > LONGEST_ACCOUNT || !text.bytes().all(plain) {
            let label = "no account has such a name";
            return Err(Mistake::new(label, "write one of /etc/passwd, or a number"));
        }
        Ok(Self(text.into()))
    }

    fn write(&self) -> String {
        self.0.to_string()
    }
}

const LONGEST_ACCOUNT: usize = 32;
