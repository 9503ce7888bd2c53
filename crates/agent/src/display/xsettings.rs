//! XSETTINGS manager: fonts and scale for GTK programs, also while they run.
//! Format: <https://specifications.freedesktop.org/xsettings-spec/0.5/>.

use x11rb::connection::Connection;
use x11rb::protocol::xproto::{
    AtomEnum, ClientMessageEvent, ConnectionExt as _, CreateWindowAux, EventMask, PropMode, Window, WindowClass,
};
use x11rb::rust_connection::RustConnection;

use super::x11::{Result, intern};

/// Dots per inch of an unscaled desktop.
const BASE_DPI: f32 = 96.0;
/// Scales of at least this make GTK 3 draw its icons and borders at twice the size.
const DOUBLE_FROM: f32 = 1.75;

/// What programs are told about the screen's density.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Density {
    scale: f32,
}

impl Density {
    /// `scale` is the browser's `devicePixelRatio`; values outside 0.5..=4 are clamped.
    pub fn new(scale: f32) -> Self {
        Self { scale: if scale.is_finite() { scale.clamp(0.5, 4.0) } else { 1.0 } }
    }

    pub fn dpi(self) -> f32 {
        BASE_DPI * self.scale
    }

    /// Whole-number factor of GTK 3.
    pub fn window_factor(self) -> i32 {
        if self.scale >= DOUBLE_FROM { 2 } else { 1 }
    }

    #[expect(clippy::cast_possible_truncation, reason = "clamped to 48..=384")]
    fn dpi_in_1024ths(self) -> i32 {
        (self.dpi() * 1024.0) as i32
    }
}

/// Owner of the settings selection.
#[derive(Debug)]
pub struct XSettings {
    window: Window,
    property: u32,
    serial: u32,
}

impl XSettings {
    /// Takes the selection `_XSETTINGS_S0` and announces it.
    pub fn announce(conn: &RustConnection, root: Window, density: Density) -> Result<Self> {
        let window = conn.generate_id()?;
        let aux = CreateWindowAux::new();
        conn.create_window(0, window, root, -1, -1, 1, 1, 0, WindowClass::INPUT_ONLY, 0, &aux)?;
        let selection = intern(conn, "_XSETTINGS_S0")?;
        let property = intern(conn, "_XSETTINGS_SETTINGS")?;
        let manager = intern(conn, "MANAGER")?;
        let mut settings = Self { window, property, serial: 0 };
        settings.set(conn, density)?;
        conn.set_selection_owner(window, selection, x11rb::CURRENT_TIME)?;
        let message = ClientMessageEvent::new(32, root, manager, [x11rb::CURRENT_TIME, selection, window, 0, 0]);
        conn.send_event(false, root, EventMask::STRUCTURE_NOTIFY, message)?;
        Ok(settings)
    }

    pub fn set(&mut self, conn: &RustConnection, density: Density) -> Result<()> {
        self.serial = self.serial.wrapping_add(1);
        let bytes = encode(self.serial, density);
        let length = u32::try_from(bytes.len()).unwrap_or(0);
        conn.change_property(PropMode::REPLACE, self.window, self.property, self.property, 8, length, &bytes)?;
        Ok(())
    }
}

/// Puts the density where programs look that know no XSETTINGS (Xft, openbox).
pub fn set_resources(conn: &RustConnection, root: Window, density: Density) -> Result<()> {
    let text = format!("Xft.dpi:\t{:.0}\n", density.dpi());
    let length = u32::try_from(text.len()).unwrap_or(0);
    let (name, kind) = (AtomEnum::RESOURCE_MANAGER, AtomEnum::STRING);
    conn.change_property(PropMode::REPLACE, root, name, kind, 8, length, text.as_bytes())?;
    Ok(())
}

enum Value {
    Int(i32),
    Text(&'static str),
}

fn encode(serial: u32, density: Density) -> Vec<u8> {
    let factor = density.window_factor();
    let settings = [
        ("Gdk/UnscaledDPI", Value::Int(density.dpi_in_1024ths() / factor)),
        ("Gdk/WindowScalingFactor", Value::Int(factor)),
        // A blinking cursor or a fading button would send pictures while nothing happens.
        ("Gtk/EnableAnimations", Value::Int(0)),
        ("Net/CursorBlink", Value::Int(0)),
        ("Xft/Antialias", Value::Int(1)),
        ("Xft/DPI", Value::Int(density.dpi_in_1024ths())),
        ("Xft/HintStyle", Value::Text("hintslight")),
        ("Xft/Hinting", Value::Int(1)),
        ("Xft/RGBA", Value::Text("none")),
    ];
    let order = u8::from(cfg!(target_endian = "big"));
    let mut bytes = vec![order, 0, 0, 0];
    bytes.extend(serial.to_ne_bytes());
    bytes.extend(u32::try_from(settings.len()).unwrap_or(0).to_ne_bytes());
    for (name, value) in settings {
        bytes.push(match value {
            Value::Int(_) => 0,
            Value::Text(_) => 1,
        });
        bytes.push(0);
        bytes.extend(u16::try_from(name.len()).unwrap_or(0).to_ne_bytes());
        push_padded(&mut bytes, name.as_bytes());
        bytes.extend(serial.to_ne_bytes());
        match value {
            Value::Int(number) => bytes.extend(number.to_ne_bytes()),
            Value::Text(text) => {
                bytes.extend(u32::try_from(text.len()).unwrap_or(0).to_ne_bytes());
                push_padded(&mut bytes, text.as_bytes());
            }
        }
    }
    bytes
}

fn push_padded(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend(text);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_is_padded_and_counts_its_settings() {
        let bytes = encode(3, Density::new(2.0));
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(bytes[4..8], 3_u32.to_ne_bytes());
        assert_eq!(bytes[8..12], 9_u32.to_ne_bytes());
        assert_eq!(&bytes[16..31], b"Gdk/UnscaledDPI");
        assert_eq!(bytes[36..40], (96 * 1024_i32).to_ne_bytes(), "192 dpi drawn with factor 2");
    }

    #[test]
    fn density_is_clamped() {
        assert_eq!(Density::new(f32::NAN).dpi().to_bits(), 96.0_f32.to_bits());
        assert_eq!(Density::new(100.0).dpi_in_1024ths(), 384 * 1024);
        assert_eq!(Density::new(0.0).dpi_in_1024ths(), 48 * 1024);
    }
}
