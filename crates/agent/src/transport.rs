//! How picture and input travel between the agent and its viewers.

pub mod media;
pub mod stream;
pub mod webrtc;

use std::io;

use crate::display::desk::Desk;
use crate::display::input::InputDevice;
use crate::display::input_queue::InputQueue;
use crate::display::server::Cookie;
use crate::picture::Picture;

/// What viewers of one display see and touch; goes with it.
#[derive(Debug, Clone)]
pub struct Stage {
    pub picture: Picture,
    pub input: InputQueue,
    pub desk: Desk,
}

impl Stage {
    /// Blocks for some round trips to the X server.
    ///
    /// # Errors
    /// When the display takes no input or tells of no cursor, or the machine gives no thread.
    pub fn open(display: u32, cookie: Cookie) -> io::Result<Self> {
        let device = InputDevice::open(display, &cookie).map_err(io::Error::other)?;
        let desk = Desk::open(display, &cookie).map_err(io::Error::other)?;
        Ok(Self { picture: Picture::start(display, cookie)?, input: InputQueue::start(device)?, desk })
    }
}
