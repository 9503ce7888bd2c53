//! The few calls to the operating system that the compiler cannot check. Nothing else in this crate is unsafe.
#![allow(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, set_parent_process_death_signal};

/// Ignores SIGXFSZ, here and in every program started from here: with writes stopped (`RLIMIT_FSIZE`), writing then
/// fails with EFBIG, which programs report, instead of killing them.
pub fn ignore_file_size_signal() {
    // SAFETY: SIG_IGN installs no handler, so nothing runs in signal context.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

/// Has the kernel send `signal` to the program when the thread that starts it is gone.
pub fn signal_on_parent_death(command: &mut Command, signal: Signal) {
    // SAFETY: runs between fork and exec; prctl is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(move || Ok(set_parent_process_death_signal(Some(signal))?));
    }
}
