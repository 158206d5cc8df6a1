//! Signals, as commands.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::Command;

/// SIGHUP reloads; SIGTERM drains; SIGINT, which comes from a terminal, stops without the pause for load balancers. A second
/// SIGTERM or SIGINT ends what is open.
pub fn commands() -> io::Result<mpsc::Receiver<Command>> {
    let mut reload = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sender, receiver) = mpsc::channel(8);
    tokio::spawn(async move {
        let mut stopping = false;
        loop {
            let mut command = tokio::select! {
                _ = reload.recv() => Command::Reload,
                _ = terminate.recv() => Command::Drain,
                _ = interrupt.recv() => Command::Stop,
            };
            if command != Command::Reload && std::mem::replace(&mut stopping, true) {
                command = Command::End;
            }
            if sender.send(command).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}
