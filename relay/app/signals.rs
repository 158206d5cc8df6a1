//! Signals, turned into instructions.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::Instruction;

/// Listens for signals, and gives the instructions that they mean.
///
/// SIGHUP reloads and SIGTERM drains. SIGINT comes from a terminal, so it stops without the pause
/// for load balancers. A second SIGTERM or SIGINT ends what is open.
pub fn instructions() -> io::Result<mpsc::Receiver<Instruction>> {
    let mut reload = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sender, receiver) = mpsc::channel(8);
    tokio::spawn(async move {
        let mut stopping = false;
        loop {
            let mut instruction = tokio::select! {
                _ = reload.recv() => Instruction::Reload,
                _ = terminate.recv() => Instruction::Drain,
                _ = interrupt.recv() => Instruction::Stop,
            };
            if instruction != Instruction::Reload && std::mem::replace(&mut stopping, true) {
                instruction = Instruction::End;
            }
            if sender.send(instruction).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}
