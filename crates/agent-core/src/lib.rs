//! Pure session logic: what to start, restart and end, and when. No I/O, no clock, no spawn: time is an argument
//! (`Duration` since the agent started), effects are returned for the shell in `crates/agent` to carry out.

pub mod input;
pub mod lifecycle;
pub mod picture;
pub mod recovery;
pub mod restart;
pub mod rtc;
