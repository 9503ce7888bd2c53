//! openbox: GIMP's main window fills the screen without a frame, dialogs are centred and can be moved and closed, and
//! no key or button is kept from GIMP.

use std::io;
use std::process::Command;

use crate::settings::Folders;

/// `openbox` with our configuration only; the user's own is not read.
pub fn command(folders: &Folders) -> io::Result<Command> {
    let config = folders.run_file("openbox.xml");
    std::fs::write(&config, CONFIG)?;
    let mut command = Command::new("openbox");
    command.arg("--sm-disable").arg("--config-file").arg(config);
    Ok(command)
}

const CONFIG: &str = include_str!("openbox.xml");
