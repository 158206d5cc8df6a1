//! Defines the exit codes, and which code an error becomes.

use std::io;
use std::process::ExitCode;

use super::out;
use crate::admin::AdminError;
use crate::app::StartError;
use crate::config;
use crate::os::sandbox::SandboxError;
use crate::server::SetupError;

/// Lists the exit codes. Those above 2 come from sysexits.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Fine = 0,
    /// A check failed, or a request was denied.
    No = 1,
    Usage = 2,
    Unavailable = 69,
    Internal = 70,
    Config = 78,
}

/// Tells why a command declines what was asked, and what to do instead. That is an answer and no
/// defect, so the code is [`Exit::No`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(pub(super) String);

/// Gives the code of a finished command, and writes its error to standard error. Errors are written
/// nowhere else, so that each is written once.
pub(super) fn code(result: anyhow::Result<Exit>) -> ExitCode {
    let error = match result {
        Ok(exit) => return exit.into(),
        Err(error) => error,
    };
    if let Some(error) = error.downcast_ref::<config::Error>() {
        out::error_text(&error.render(out::error_has_colour()));
        return Exit::Config.into();
    }
    // The reader has closed the pipe (`| head`) because it has read what it wanted.
    if error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    {
        return Exit::Fine.into();
    }
    out::error_line(&format!("{error:#}"));
    if error.is::<Refused>() {
        return Exit::No.into();
    }
    match error.downcast_ref::<StartError>() {
        Some(
            StartError::Server(SetupError::Bind(_)) | StartError::Admin(AdminError::Bind { .. }),
        ) => Exit::Unavailable,
        Some(
            StartError::Server(SetupError::Resources(_))
            | StartError::Sandbox(SandboxError::Missing { .. }),
        )
        | None => Exit::Internal,
        Some(_) => Exit::Config,
    }
    .into()
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
