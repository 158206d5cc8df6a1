//! The checks of the file, one file for each subject.
//!
//! Each function takes a table of the mirror, reads its values, fills in the defaults, and adds
//! what is wrong or doubtful to the findings. It returns the options of the part that the table is
//! for.

mod admin;
mod audit;
mod clients;
mod destinations;
mod dns;
mod limits;
mod listeners;
mod places;
mod policy;
mod report_only;
mod timeouts;

use callhome_settings::Findings;

use super::file::{LogTable, SandboxTable};
use super::forms::AccountName;
use super::words::{LevelWord, LogFormatWord, SandboxModeWord};
use crate::os::sandbox::SandboxOptions;
use crate::telemetry::LogOptions;

pub(super) use self::admin::admin;
pub(super) use self::audit::audit;
pub(super) use self::clients::certificates;
pub(super) use self::dns::dns;
pub(super) use self::limits::limits;
pub(super) use self::listeners::listeners;
pub(super) use self::policy::policy;
pub(super) use self::timeouts::timeouts;

pub(super) fn sandbox(file: &SandboxTable, findings: &mut Findings) -> SandboxOptions {
    let mode = file.mode.as_ref().map(|mode| mode.value);
    let user = file.user.as_ref().and_then(|user| findings.read(user));
    SandboxOptions {
        mode: mode.unwrap_or(SandboxModeWord::Auto).into(),
        user: user.map(|AccountName(user)| user),
    }
}

pub(super) fn log(file: &LogTable) -> LogOptions {
    LogOptions {
        level: file.level.unwrap_or(LevelWord::Info).into(),
        format: file.format.unwrap_or(LogFormatWord::Text).into(),
    }
}
