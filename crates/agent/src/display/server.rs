//! Which program owns the display and how it is started: Xorg with the dummy driver and TigerVNC's module, Xvnc where
//! those are missing, or any command of the operator's.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use protocol::agent::{Capabilities, DisplayServer, paths};
use protocol::session::ScreenSize;
use rustix::io::{FdFlags, fcntl_setfd};

use super::x11::Sizing;
use crate::settings::Folders;

/// The real server, not a distribution's setuid wrapper.
pub const XORG: [&str; 2] = ["/usr/lib/xorg/Xorg", "/usr/libexec/Xorg"];
/// Where Xorg modules are looked for.
pub const MODULES: [&str; 2] = ["/usr/lib/xorg/modules", "/usr/lib64/xorg/modules"];
/// Display number used by a `DisplayServer::Custom`, which cannot choose one itself.
const CUSTOM_DISPLAY: u32 = 90;
const X_AUTHORITY: &str = "Xauthority";
const COOKIE_NAME: &str = "MIT-MAGIC-COOKIE-1";
/// Bytes of the cookie.
const COOKIE_LEN: usize = 16;
/// Largest clipboard text taken from a viewer, bytes.
const MAX_CLIPBOARD: u32 = 1 << 20;
/// Video memory of the dummy card, KiB: a screen of 7680x4320 at 4 bytes a pixel and room to spare.
const VIDEO_RAM: u32 = 262_144;

/// Secret that X clients must show. Never logged.
#[derive(Clone)]
pub struct Cookie([u8; COOKIE_LEN]);

impl std::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cookie(..)")
    }
}

impl Cookie {
    pub fn generate() -> io::Result<Self> {
        let mut bytes = [0; COOKIE_LEN];
        let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        if filled == COOKIE_LEN { Ok(Self(bytes)) } else { Err(io::Error::other("no random bytes")) }
    }

    pub fn name() -> &'static str {
        COOKIE_NAME
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The X authority file of libXau: one entry for any host (family 0xFFFF) and any display number.
    fn authority(&self) -> Vec<u8> {
        let mut file = Vec::new();
        file.extend(0xFFFF_u16.to_be_bytes());
        for field in [&b""[..], &b""[..], COOKIE_NAME.as_bytes(), &self.0] {
            file.extend(u16::try_from(field.len()).unwrap_or(u16::MAX).to_be_bytes());
            file.extend(field);
        }
        file
    }

    /// Writes the authority file, mode 0600, and returns its path.
    pub fn store(&self, folders: &Folders) -> io::Result<PathBuf> {
        let path = authority_file(folders);
        let mut file = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(&self.authority())?;
        Ok(path)
    }

    /// Reads the cookie back from the file written by `store`.
    pub fn load(folders: &Folders) -> io::Result<Self> {
        let file = fs::read(authority_file(folders))?;
        let tail = file.last_chunk::<COOKIE_LEN>().ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self(*tail))
    }
}

pub fn authority_file(folders: &Folders) -> PathBuf {
    folders.run_file(X_AUTHORITY)
}

/// What is installed and chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    Xorg { binary: PathBuf },
    Xvnc { binary: PathBuf },
    Custom { command: Vec<String> },
}

/// Picks the program asked for, or the next best that is installed.
pub fn choose(wanted: &DisplayServer) -> io::Result<Program> {
    let xorg = || {
        let binary = XORG.iter().map(PathBuf::from).find(|path| path.exists())?;
        (module("drivers/dummy_drv.so").is_some() && module("extensions/libvnc.so").is_some())
            .then_some(Program::Xorg { binary })
    };
    let xvnc = || find_program("Xvnc").map(|binary| Program::Xvnc { binary });
    let found = match wanted {
        DisplayServer::Xorg => xorg().or_else(xvnc),
        DisplayServer::Xvnc => xvnc().or_else(xorg),
        DisplayServer::Custom { command } if command.is_empty() => None,
        DisplayServer::Custom { command } => Some(Program::Custom { command: command.clone() }),
    };
    found.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "no display server: install xserver-xorg-core, xserver-xorg-video-dummy and tigervnc-xorg-extension, \
             or tigervnc-standalone-server",
        )
    })
}

/// Full path of an Xorg module such as `drivers/dummy_drv.so`.
pub fn module(name: &str) -> Option<PathBuf> {
    MODULES.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists())
}

/// Looks a program up in `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

impl Program {
    pub fn capabilities(&self) -> Capabilities {
        let pen_unavailable = match self {
            Self::Xorg { .. } => "Pen pressure is not available in this version.".to_owned(),
            Self::Xvnc { .. } => "Pen pressure is not available: Xorg's dummy driver is not installed.".to_owned(),
            Self::Custom { .. } => "Pen pressure is not available with this display server.".to_owned(),
        };
        Capabilities {
            vnc: true,
            resize: true,
            open_files: true,
            pen_unavailable: Some(pen_unavailable),
            documents_unavailable: None,
        }
    }

    pub const fn sizing(&self) -> Sizing {
        match self {
            Self::Xorg { .. } | Self::Xvnc { .. } => Sizing::Any,
            Self::Custom { .. } => Sizing::MayStay,
        }
    }

    /// The command to run and, unless the display number is fixed, the pipe on which the server writes it.
    pub fn command(
        &self,
        folders: &Folders,
        authority: &Path,
        size: ScreenSize,
    ) -> io::Result<(Command, DisplayNumber, Option<OwnedFd>)> {
        create_socket_folder()?;
        let rfb = folders.run_file(paths::RFB_SOCKET);
        let _ = fs::remove_file(&rfb);
        if let Self::Custom { command: words } = self {
            let fill = |word: &String| {
                word.replace("{display}", &format!(":{CUSTOM_DISPLAY}"))
                    .replace("{width}", &size.width.to_string())
                    .replace("{height}", &size.height.to_string())
                    .replace("{rfbSocket}", &rfb.to_string_lossy())
                    .replace("{xauthority}", &authority.to_string_lossy())
            };
            let words: Vec<String> = words.iter().map(fill).collect();
            let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
            let mut command = Command::new(program);
            command.args(arguments);
            return Ok((command, DisplayNumber::Fixed(CUSTOM_DISPLAY), None));
        }

        let (reader, writer) = rustix::pipe::pipe()?;
        fcntl_setfd(&reader, FdFlags::CLOEXEC)?;
        let mut command = match self {
            Self::Xorg { binary } => {
                let config = folders.run_file("xorg.conf");
                fs::write(&config, xorg_conf(&rfb))?;
                let empty = folders.run_file("xorg.conf.d");
                fs::create_dir_all(&empty)?;
                let mut command = Command::new(binary);
                command.arg("-config").arg(config).arg("-configdir").arg(empty);
                command.args(["-novtswitch", "-sharevts", "-verbose", "0", "-logverbose", "0", "-logfile"]);
                command.arg("/dev/null");
                command
            }
            Self::Xvnc { binary } => {
                let mut command = Command::new(binary);
                command.args([
                    "-geometry",
                    &format!("{}x{}", size.width, size.height),
                    "-depth",
                    "24",
                    "-rfbport",
                    "-1",
                ]);
                for (name, value) in vnc_parameters(&rfb) {
                    command.arg(format!("-{name}={value}"));
                }
                command
            }
            Self::Custom { .. } => return Err(io::ErrorKind::Unsupported.into()),
        };
        // -terminate: the server stays for its last client. Should the agent be killed, GIMP keeps its display until it
        // has written its copies.
        command.args(["-terminate", "-nolisten", "tcp", "-s", "0", "-dpms", "-auth"]).arg(authority);
        command.args(["-displayfd", &writer.as_raw_fd().to_string()]);
        Ok((command, DisplayNumber::FromPipe(reader), Some(writer)))
    }
}

/// How the display number becomes known.
#[derive(Debug)]
pub enum DisplayNumber {
    Fixed(u32),
    FromPipe(OwnedFd),
}

/// A server that is not root does not create its socket folder itself.
fn create_socket_folder() -> io::Result<()> {
    match fs::create_dir("/tmp/.X11-unix") {
        Ok(()) => fs::set_permissions("/tmp/.X11-unix", fs::Permissions::from_mode(0o1777)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn vnc_parameters(rfb: &Path) -> [(&'static str, String); 9] {
    [
        ("SecurityTypes", "None".into()),
        ("rfbunixpath", rfb.to_string_lossy().into_owned()),
        ("rfbunixmode", "384".into()), // 0600
        // The agent sizes the screen; a viewer's own request leaves Xorg half resized.
        ("AcceptSetDesktopSize", "0".into()),
        ("AlwaysShared", "1".into()),
        // Text that is only selected must not replace the clipboard of the viewer's machine.
        ("SendPrimary", "0".into()),
        ("SetPrimary", "0".into()),
        ("MaxCutText", MAX_CLIPBOARD.to_string()),
        ("desktop", "GIMP".into()),
    ]
}

fn xorg_conf(rfb: &Path) -> String {
    let vnc: String =
        vnc_parameters(rfb).iter().map(|(name, value)| format!("    Option \"{name}\" \"{value}\"\n")).collect();
    format!(
        r#"Section "ServerFlags"
    Option "AutoAddDevices" "false"
    Option "AutoAddGPU" "false"
    Option "AllowEmptyInput" "true"
    Option "BlankTime" "0"
EndSection
Section "Module"
    Load "vnc"
    Disable "glx"
EndSection
Section "Device"
    Identifier "card"
    Driver "dummy"
    VideoRam {VIDEO_RAM}
EndSection
Section "Screen"
    Identifier "screen"
    Device "card"
    DefaultDepth 24
    Option "rfbport" "-1"
{vnc}    SubSection "Display"
        Depth 24
    EndSubSection
EndSection
Section "ServerLayout"
    Identifier "layout"
    Screen "screen"
EndSection
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_file_has_the_layout_of_libxau_and_reads_back() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let folders = Folders { run: dir.path().into(), home: dir.path().into(), warm: dir.path().into() };
        let cookie = Cookie([7; COOKIE_LEN]);
        let path = cookie.store(&folders).expect("writes");
        let mut expected = vec![0xFF, 0xFF, 0, 0, 0, 0, 0, 18];
        expected.extend(b"MIT-MAGIC-COOKIE-1");
        expected.extend([0, 16]);
        expected.extend([7; 16]);
        assert_eq!(fs::read(&path).expect("reads"), expected);
        assert_eq!(fs::metadata(&path).expect("exists").permissions().mode() & 0o777, 0o600);
        assert_eq!(Cookie::load(&folders).expect("loads").0, cookie.0);
    }

    #[test]
    fn a_custom_command_gets_its_placeholders_filled() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let folders = Folders { run: dir.path().into(), home: dir.path().into(), warm: dir.path().into() };
        let words = ["Xkasm", "{display}", "-geometry", "{width}x{height}", "-sock", "{rfbSocket}"];
        let program = Program::Custom { command: words.map(String::from).to_vec() };
        let size = ScreenSize { width: 800, height: 600, scale: 1.0 };
        let (command, number, _) = program.command(&folders, Path::new("/a"), size).expect("builds");
        let arguments: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        assert_eq!(arguments[..3], [":90", "-geometry", "800x600"]);
        assert_eq!(arguments[4], folders.run_file(paths::RFB_SOCKET).to_string_lossy());
        assert!(matches!(number, DisplayNumber::Fixed(90)));
    }
}
