//! Processes of the session: how they are started, limited, told to go, and heard of when they went.

pub mod bus;
pub mod children;
pub mod guard;
pub mod limits;
pub mod os;
