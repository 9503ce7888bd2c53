//! How picture and input travel between the agent and its viewers.

pub mod stream;
