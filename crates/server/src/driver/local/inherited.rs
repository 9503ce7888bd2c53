//! Descriptors that this process got from whoever started it. bubblewrap hands on what it inherits, so they have to end
//! here: a session must not hold a pipe or file of the machine.
//!
//! The one file of the driver with `unsafe`: a descriptor of unknown owner can't be borrowed safely.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};

/// Marks every descriptor but standard input, output and error as closed on exec. Rust opens all of its own that way,
/// so this only changes inherited ones.
pub fn close_on_exec() -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if number <= 2 {
            continue;
        }
        // SAFETY: the borrow lives for two calls that at worst set a flag which every descriptor of this process should
        // have. If another thread closes it meanwhile, they answer EBADF.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        match fcntl_getfd(fd).and_then(|flags| fcntl_setfd(fd, flags | FdFlags::CLOEXEC)) {
            Ok(()) | Err(Errno::BADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inherited_is_not_handed_on() {
        let file = std::fs::File::open("/dev/null").expect("opens");
        fcntl_setfd(&file, FdFlags::empty()).expect("as if inherited");
        close_on_exec().expect("marks");
        assert!(fcntl_getfd(&file).expect("reads").contains(FdFlags::CLOEXEC));
    }
}
