//! The thread that owns the input device, so that input never waits for pictures.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use agent_core::input::ClientId;
use protocol::stream::InputEvent;
use tokio::sync::{mpsc, oneshot};

use super::input::InputDevice;
use super::x11::Result;

/// Messages of clients that wait. When it is full the caller waits, and with it that client's channel: keys are not lost.
const WAITING: usize = 64;

/// The way to the input device. Its thread ends, with nothing left down, when the last clone of it is gone.
#[derive(Debug, Clone)]
pub struct InputQueue {
    commands: mpsc::Sender<Command>,
}

#[derive(Debug)]
enum Command {
    Apply { client: ClientId, events: Vec<InputEvent>, given: Arc<AtomicU32>, taken: oneshot::Sender<u32> },
    Leave { client: ClientId },
}

/// The X server is gone, and with it all that was down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the display takes no input any more")]
pub struct Gone;

impl InputQueue {
    pub fn start(device: InputDevice) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(WAITING);
        thread::Builder::new().name("input".into()).spawn(move || {
            if let Err(error) = run(device, receiver) {
                tracing::warn!(%error, "input ends");
            }
        })?;
        Ok(Self { commands: sender })
    }

    /// Gives the X server a client's events; returns the newest number that it has been given, which `given` holds from
    /// that moment on.
    pub async fn apply(
        &self,
        client: ClientId,
        events: Vec<InputEvent>,
        given: Arc<AtomicU32>,
    ) -> std::result::Result<u32, Gone> {
        let (taken, answer) = oneshot::channel();
        self.commands.send(Command::Apply { client, events, given, taken }).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// Lets go of what only this client holds. Must be called for every client that ever sent events.
    pub async fn leave(&self, client: ClientId) {
        let _ = self.commands.send(Command::Leave { client }).await;
    }
}

fn run(mut device: InputDevice, mut commands: mpsc::Receiver<Command>) -> Result<()> {
    while let Some(command) = commands.blocking_recv() {
        match command {
            Command::Apply { client, events, given, taken } => {
                let number = device.apply(client, &events)?;
                given.store(number, Ordering::Release);
                let _ = taken.send(number);
            }
            Command::Leave { client } => device.leave(client)?,
        }
    }
    device.leave_all()
}
