//! The agent's own X client: screen size, density, idle time. Its calls block for a round trip to the server (0.1 ms);
//! run them off the event loop.

use std::os::unix::net::UnixStream;

use protocol::session::ScreenSize;
use x11rb::connection::Connection;
use x11rb::errors::{ConnectError, ConnectionError, ParseError, ReplyError, ReplyOrIdError};
use x11rb::protocol::randr::{self, ConnectionExt as _, Crtc, Mode, ModeInfo, Output};
use x11rb::protocol::screensaver::ConnectionExt as _;
use x11rb::protocol::xproto::{AtomEnum, ChangeWindowAttributesAux, ConnectionExt as _, KeyButMask, Window};
use x11rb::rust_connection::{DefaultStream, RustConnection};

use super::server::Cookie;
use super::xsettings::{Density, XSettings, set_resources};

/// Colour of the screen where no window is: the grey of GIMP's empty canvas.
const BACKGROUND: u32 = 0x0045_4545;
const MILLIMETRES_PER_INCH: f32 = 25.4;
/// Modes made here are named so, and removed once replaced.
const MODE_PREFIX: &[u8] = b"session-";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot connect to the X server")]
    Connect(#[from] ConnectError),
    #[error("the connection to the X server broke")]
    Connection(#[from] ConnectionError),
    #[error("the X server refused a request")]
    Reply(#[from] ReplyError),
    #[error("the X server ran out of resource ids")]
    Id(#[from] ReplyOrIdError),
    #[error("the X server sent nonsense")]
    Parse(#[from] ParseError),
    #[error("the X server's socket cannot be reached")]
    Socket(#[from] std::io::Error),
    #[error("the X server has no output to size")]
    NoOutput,
    #[error("the X server's pixels are not of 24 bits in 32")]
    Pixels,
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// The server lives and says no, or does not know what is asked of it.
    const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::NoOutput
                | Self::Connection(ConnectionError::UnsupportedExtension)
                | Self::Reply(ReplyError::X11Error(_))
                | Self::Id(ReplyOrIdError::X11Error(_))
        )
    }
}

pub type Result<T> = std::result::Result<T, Error>;

/// An X connection that knows its root window.
#[derive(Debug)]
pub struct Client {
    pub conn: RustConnection,
    pub root: Window,
}

impl Client {
    pub fn connect(display: u32, cookie: &Cookie) -> Result<Self> {
        let stream = UnixStream::connect(format!("/tmp/.X11-unix/X{display}"))?;
        let (stream, _) = DefaultStream::from_unix_stream(stream)?;
        let (name, data) = (Cookie::name().as_bytes().to_vec(), cookie.bytes().to_vec());
        let conn = RustConnection::connect_to_stream_with_auth_info(stream, 0, name, data)?;
        let root = conn.setup().roots.first().ok_or(Error::NoOutput)?.root;
        Ok(Self { conn, root })
    }
}

pub fn intern(conn: &RustConnection, name: &str) -> Result<u32> {
    Ok(conn.intern_atom(false, name.as_bytes())?.reply()?.atom)
}

/// Which sizes the server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizing {
    Any,
    /// An operator's own server may keep the size that it was started with.
    MayStay,
}

/// The screen as the agent controls it.
#[derive(Debug)]
pub struct Screen {
    client: Client,
    settings: XSettings,
    sizing: Sizing,
    stays: Option<(u16, u16)>,
}

impl Screen {
    /// Connects, applies size and density and paints the background.
    pub fn open(display: u32, cookie: &Cookie, size: ScreenSize, sizing: Sizing) -> Result<Self> {
        let client = Client::connect(display, cookie)?;
        let density = Density::new(size.scale);
        let settings = XSettings::announce(&client.conn, client.root, density)?;
        let mut screen = Self { client, settings, sizing, stays: None };
        screen.apply(size)?;
        let background = ChangeWindowAttributesAux::new().background_pixel(BACKGROUND);
        screen.client.conn.change_window_attributes(screen.client.root, &background)?;
        screen.client.conn.clear_area(false, screen.client.root, 0, 0, 0, 0)?;
        screen.client.conn.sync_with_server()?;
        Ok(screen)
    }

    /// Sizes the screen and tells programs its density; returns what became of it. Any size works, unless the server
    /// is one that `stays`; the caller caps it.
    pub fn apply(&mut self, size: ScreenSize) -> Result<ScreenSize> {
        let density = Density::new(size.scale);
        set_resources(&self.client.conn, self.client.root, density)?;
        self.settings.set(&self.client.conn, density)?;
        if self.stays.is_none() {
            match resize(&self.client, size.width, size.height, density) {
                Err(error) if self.sizing == Sizing::MayStay && error.is_refusal() => {
                    let root = self.client.conn.get_geometry(self.client.root)?.reply()?;
                    tracing::warn!(%error, root.width, root.height, "the display server keeps its size");
                    self.stays = Some((root.width, root.height));
                }
                result => result?,
            }
        }
        self.client.conn.flush()?;
        let (width, height) = self.stays.unwrap_or((size.width, size.height));
        Ok(ScreenSize { width, height, ..size })
    }

    /// The size that the server turned out to keep.
    pub const fn stays(&self) -> Option<(u16, u16)> {
        self.stays
    }

    /// Milliseconds since the last input of a human.
    pub fn idle_ms(&self) -> Result<u64> {
        let reply = self.client.conn.screensaver_query_info(self.client.root)?.reply()?;
        Ok(reply.ms_since_user_input.into())
    }

    /// What a human does now.
    pub fn hand(&self) -> Result<Hand> {
        let pointer = self.client.conn.query_pointer(self.client.root)?.reply()?;
        let buttons = BUTTONS.into_iter().any(|button| u16::from(pointer.mask) & u16::from(button) != 0);
        Ok(Hand { idle_ms: self.idle_ms()?, button_down: buttons, titles: image_titles(&self.client)? })
    }
}

/// Of the pointer; wheels are buttons 4 and 5, and never stay down.
const BUTTONS: [KeyButMask; 3] = [KeyButMask::BUTTON1, KeyButMask::BUTTON2, KeyButMask::BUTTON3];

/// The state of the human's hand, and what it works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hand {
    /// Milliseconds since the last input of a human.
    pub idle_ms: u64,
    /// Whether a button of mouse or pen is down.
    pub button_down: bool,
    /// Of GIMP's image windows.
    pub titles: Vec<String>,
}

/// How the roles of GIMP's image windows begin.
const IMAGE_WINDOW_ROLE: &[u8] = b"gimp-image-window-";

fn image_titles(client: &Client) -> Result<Vec<String>> {
    let conn = &client.conn;
    let (list, role) = (intern(conn, "_NET_CLIENT_LIST")?, intern(conn, "WM_WINDOW_ROLE")?);
    let title = intern(conn, "_NET_WM_NAME")?;
    let list = conn.get_property(false, client.root, list, AtomEnum::WINDOW, 0, 1024)?.reply()?;
    let mut titles = Vec::new();
    for window in list.value32().into_iter().flatten() {
        // A window may be gone by the time it is asked about.
        let Ok(role) = conn.get_property(false, window, role, AtomEnum::STRING, 0, 64)?.reply() else { continue };
        if role.value.starts_with(IMAGE_WINDOW_ROLE)
            && let Ok(title) = conn.get_property(false, window, title, AtomEnum::ANY, 0, 1024)?.reply()
        {
            titles.push(String::from_utf8_lossy(&title.value).into_owned());
        }
    }
    Ok(titles)
}

fn resize(client: &Client, width: u16, height: u16, density: Density) -> Result<()> {
    let Client { conn, root } = client;
    let resources = conn.randr_get_screen_resources_current(*root)?.reply()?;
    let output = *resources.outputs.first().ok_or(Error::NoOutput)?;
    let info = conn.randr_get_output_info(output, resources.config_timestamp)?.reply()?;
    let crtc = if info.crtc == 0 { *info.crtcs.first().ok_or(Error::NoOutput)? } else { info.crtc };
    let current = conn.randr_get_crtc_info(crtc, resources.config_timestamp)?.reply()?;
    let root_size = conn.get_geometry(*root)?.reply()?;

    let physical = Physical { density };
    if (current.width, current.height) == (width, height) && (root_size.width, root_size.height) == (width, height) {
        return physical.set_screen(client, width, height);
    }

    let mode = mode_of_size(client, &resources, output, width, height)?;
    // The screen must hold the output at every step, so it first grows to the larger of both.
    let (wide, tall) = (width.max(root_size.width), height.max(root_size.height));
    if (wide, tall) != (root_size.width, root_size.height) {
        physical.set_screen(client, wide, tall)?;
    }
    set_crtc(client, crtc, mode, output)?;
    if (wide, tall) != (width, height) {
        physical.set_screen(client, width, height)?;
    }
    remove_old_modes(client, output, mode)
}

struct Physical {
    density: Density,
}

impl Physical {
    fn set_screen(&self, client: &Client, width: u16, height: u16) -> Result<()> {
        let millimetres = |pixels: u16| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 7680 / 48 * 25.4")]
            let rounded = (f32::from(pixels) / self.density.dpi() * MILLIMETRES_PER_INCH).round() as u32;
            rounded.max(1)
        };
        let (mm_width, mm_height) = (millimetres(width), millimetres(height));
        client.conn.randr_set_screen_size(client.root, width, height, mm_width, mm_height)?.check()?;
        Ok(())
    }
}

fn set_crtc(client: &Client, crtc: Crtc, mode: Mode, output: Output) -> Result<()> {
    let now = x11rb::CURRENT_TIME;
    let timestamp = client.conn.randr_get_screen_resources_current(client.root)?.reply()?.config_timestamp;
    let rotation = randr::Rotation::ROTATE0;
    client.conn.randr_set_crtc_config(crtc, now, timestamp, 0, 0, mode, rotation, &[output])?.reply()?;
    Ok(())
}

fn mode_of_size(
    client: &Client,
    resources: &randr::GetScreenResourcesCurrentReply,
    output: Output,
    width: u16,
    height: u16,
) -> Result<Mode> {
    let info = client.conn.randr_get_output_info(output, resources.config_timestamp)?.reply()?;
    let existing = resources.modes.iter().find(|mode| (mode.width, mode.height) == (width, height));
    if let Some(mode) = existing {
        if !info.modes.contains(&mode.id) {
            client.conn.randr_add_output_mode(output, mode.id)?.check()?;
        }
        return Ok(mode.id);
    }
    let mut name = MODE_PREFIX.to_vec();
    name.extend(format!("{width}x{height}").bytes());
    // The dummy card shows nothing; the timings only have to be well-formed (60 Hz without blanking).
    let mode = ModeInfo {
        width,
        height,
        dot_clock: u32::from(width) * u32::from(height) * 60,
        hsync_start: width,
        hsync_end: width,
        htotal: width,
        vsync_start: height,
        vsync_end: height,
        vtotal: height,
        name_len: u16::try_from(name.len()).unwrap_or(0),
        ..ModeInfo::default()
    };
    let created = client.conn.randr_create_mode(client.root, mode, &name)?.reply()?;
    client.conn.randr_add_output_mode(output, created.mode)?.check()?;
    Ok(created.mode)
}

fn remove_old_modes(client: &Client, output: Output, keep: Mode) -> Result<()> {
    let resources = client.conn.randr_get_screen_resources_current(client.root)?.reply()?;
    let mut names = resources.names.as_slice();
    for mode in &resources.modes {
        let (name, rest) = names.split_at(usize::from(mode.name_len).min(names.len()));
        names = rest;
        if mode.id != keep && name.starts_with(MODE_PREFIX) {
            // A mode that something still refers to stays; it costs nothing.
            let _ = client.conn.randr_delete_output_mode(output, mode.id)?.check();
            let _ = client.conn.randr_destroy_mode(mode.id)?.check();
        }
    }
    Ok(())
}

trait SyncWithServer {
    fn sync_with_server(&self) -> Result<()>;
}

impl SyncWithServer for RustConnection {
    /// Returns once the server has done everything asked so far.
    fn sync_with_server(&self) -> Result<()> {
        self.get_input_focus()?.reply()?;
        Ok(())
    }
}
