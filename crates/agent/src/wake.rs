//! Wakes a thread that waits for descriptors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

/// The end that wakes.
#[derive(Debug, Clone)]
pub struct Waker(Arc<OwnedFd>);

/// The end that waits.
#[derive(Debug)]
pub struct Wake(Arc<OwnedFd>);

impl Wake {
    pub fn new() -> io::Result<(Waker, Self)> {
        let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        Ok((Waker(Arc::clone(&event)), Self(event)))
    }

    /// The thread's next wait is none.
    pub fn again(&self) {
        Waker(Arc::clone(&self.0)).wake();
    }

    /// Forgets that it was woken.
    pub fn clear(&self) {
        let _nothing_there = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Waker {
    pub fn wake(&self) {
        // It can only fail when the count is at its limit, and then the thread is awake.
        let _full = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}
