//! Accounts of /etc/passwd and /etc/group, read as text. A static binary can't ask the C library
//! for them, because that would load modules.

use std::fmt;
use std::fs;
use std::io;

use rustix::fs::{Gid, Uid};

/// The account that a relay becomes when it was started as root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub(super) name: Box<str>,
    pub(super) user: Uid,
    pub(super) group: Gid,
    /// The groups that list the account. By them it can read a key that belongs to a group.
    pub(super) groups: Vec<Gid>,
}

/// Why there is no such account.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("/etc/passwd has no account \"{0}\"")]
    Unknown(Box<str>),
    #[error("/etc/passwd can't be read: {0}")]
    Unreadable(#[from] io::Error),
}

impl Account {
    pub(super) fn find(name: &str) -> Result<Self, AccountError> {
        if let Some(account) = Self::numbered(name) {
            return Ok(account);
        }
        let passwd = fs::read("/etc/passwd")?;
        // Without the file there are no further groups.
        let group = fs::read("/etc/group").unwrap_or_default();
        let (passwd, group) = (
            String::from_utf8_lossy(&passwd),
            String::from_utf8_lossy(&group),
        );
        Self::among(name, &passwd, &group).ok_or_else(|| AccountError::Unknown(name.into()))
    }

    pub fn user(&self) -> Uid {
        self.user
    }

    pub fn group(&self) -> Gid {
        self.group
    }

    pub(super) fn is_root(&self) -> bool {
        self.user.is_root()
    }

    /// Makes an account of a number, which is user and group. It needs no file.
    fn numbered(name: &str) -> Option<Self> {
        let number = name.parse().ok().filter(|number| *number != u32::MAX)?;
        Some(Self {
            name: name.into(),
            user: Uid::from_raw(number),
            group: Gid::from_raw(number),
            groups: vec![Gid::from_raw(number)],
        })
    }

    /// Finds an account in the text of passwd(5) and group(5). A line that isn't of their form is
    /// ignored.
    fn among(name: &str, passwd: &str, group: &str) -> Option<Self> {
        let (user, primary) = passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let found = fields.next() == Some(name);
            let user = id(fields.nth(1)?)?;
            found.then_some((user, id(fields.next()?)?))
        })?;
        let group_of = |line: &str| {
            let mut fields = line.split(':').skip(2);
            let number = id(fields.next()?)?;
            let listed = fields
                .next()?
                .split(',')
                .any(|member| member.trim() == name);
            (listed && number != primary).then(|| Gid::from_raw(number))
        };
        let mut groups = vec![Gid::from_raw(primary)];
        groups.extend(group.lines().filter_map(group_of));
        Some(Self {
            name: name.into(),
            user: Uid::from_raw(user),
            group: Gid::from_raw(primary),
            groups,
        })
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Parses a decimal id. The highest number is no id, because to setresuid(2) it means "don't change
/// it".
fn id(field: &str) -> Option<u32> {
    field.parse().ok().filter(|id| *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
# a comment
broken:x
relay-old:x:17:17::/:/bin/false
most:x:4294967295:5::/:/bin/false
relay:x:990:980:the relay,,,:/nonexistent:/usr/sbin/nologin
relay:x:0:0:a second line of the name:/:/bin/sh
";
    const GROUP: &str = "\
root:x:0:relay-old
ssl-cert:x:110:postgres,relay
relay:x:980:relay
broken:x:12
keys:x:111: relay
";

    fn groups(account: &Account) -> Vec<u32> {
        account.groups.iter().map(|group| group.as_raw()).collect()
    }

    #[test]
    fn an_account_has_the_ids_of_its_first_line_and_the_groups_that_list_it() {
        let account = Account::among("relay", PASSWD, GROUP).unwrap();
        assert_eq!(account.user.as_raw(), 990);
        assert_eq!(account.group.as_raw(), 980);
        assert_eq!(groups(&account), [980, 110, 111]);
        assert!(!account.is_root());
        assert!(Account::among("root", PASSWD, GROUP).unwrap().is_root());
        for unknown in ["relay-", "broken", "most", "# a comment", ""] {
            assert_eq!(Account::among(unknown, PASSWD, GROUP), None, "{unknown}");
        }
    }

    #[test]
    fn a_number_is_user_and_group() {
        let account = Account::find("65532").unwrap();
        assert_eq!(account.user.as_raw(), 65532);
        assert_eq!(groups(&account), [65532]);
        let error = Account::find("4294967295").unwrap_err();
        assert!(matches!(error, AccountError::Unknown(_)), "{error}");
    }
}
