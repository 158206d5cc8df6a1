//! The text of a configuration, before anything is made of it.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::problem::Problem;

/// The text of a configuration file, and the name that reports give it.
#[derive(Clone, Debug)]
pub struct Document {
    name: String,
    text: String,
}

impl Document {
    /// A text that comes from no file. Reports show `name` instead of a path.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// The file can't be read, or isn't UTF-8. The error shows the first byte that isn't.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => return Err(Error::unreadable(name, error)),
        };
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { name, text }),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                // The report shows a replacement character where the byte is.
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                let span = at..at + char::REPLACEMENT_CHARACTER.len_utf8();
                let problem = Problem::new(span, "the file is not UTF-8").help("save it as UTF-8");
                Err(Self { name, text }.into_error(vec![problem]))
            }
        }
    }

    /// Returns the name that reports give it: the path of a file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Fills a mirror of the file from the text.
    ///
    /// # Errors
    ///
    /// The text isn't TOML, or doesn't have the mirror's shape. Only the first such mistake is
    /// found.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        toml::from_str(&self.text).map_err(|error| {
            let problem = Problem::from_toml(&error, &self.text);
            self.clone().into_error(vec![problem])
        })
    }

    /// Makes an error of the problems of this text. They are shown in the given order.
    pub(crate) fn into_error(self, problems: Vec<Problem>) -> Error {
        Error::invalid(self.name, self.text, problems)
    }
}
