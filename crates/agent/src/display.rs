//! Everything that speaks X11: the server, its size, its settings, the window manager, and when GIMP is painted.

pub mod capture;
pub mod painted;
pub mod server;
pub mod window_manager;
pub mod x11;
pub mod xsettings;
