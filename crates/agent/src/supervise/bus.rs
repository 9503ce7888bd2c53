//! The session's own D-Bus: GIMP takes orders on it, and would otherwise start one that outlives it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::settings::Folders;

const SOCKET: &str = "bus.sock";

pub fn socket(folders: &Folders) -> PathBuf {
    folders.run_file(SOCKET)
}

pub fn address(folders: &Folders) -> String {
    format!("unix:path={}", socket(folders).display())
}

/// `dbus-daemon` with a configuration of our own, so that no policy or service file of the system matters.
pub fn command(folders: &Folders) -> io::Result<Command> {
    let socket = socket(folders);
    match std::fs::remove_file(&socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let config = folders.run_file("bus.conf");
    std::fs::write(&config, configuration(&socket))?;
    let mut command = Command::new("dbus-daemon");
    command.arg("--config-file").arg(config).args(["--nofork", "--nopidfile", "--nosyslog"]);
    Ok(command)
}

fn configuration(socket: &Path) -> String {
    format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#,
        socket.display()
    )
}
