//! Everything that speaks X11: the server, its size, its settings, the window manager, when GIMP is painted, pixels,
//! cursor, clipboard and input.

pub mod activity;
pub mod capture;
pub mod desk;
pub mod input;
pub mod input_queue;
pub mod painted;
pub mod server;
#[cfg(test)]
mod test_server;
pub mod window_manager;
pub mod x11;
pub mod xsettings;
