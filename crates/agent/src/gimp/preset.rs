//! The system-wide gimprc of a session. GIMP reads it before the user's own, never writes it, and the user's wins.
//! One word unknown to a version makes GIMP drop the rest of the file, hence the version everywhere.

use std::path::Path;

use super::process::LOCALE;
use super::version::Version;

const MIB: u64 = 1024 * 1024;
/// Smallest tile cache GIMP is given, MiB.
const MIN_TILE_CACHE: u64 = 128;
/// Smallest memory for undo, MiB.
const MIN_UNDO: u64 = 64;

/// What the preset depends on.
#[derive(Debug, Clone)]
pub struct Preset<'a> {
    pub version: Version,
    pub memory_bytes: u64,
    pub cpus: u16,
    pub swap: &'a Path,
    /// Plug-ins of the platform's own, besides GIMP's and the user's.
    pub plug_ins: &'a Path,
    /// Device pixels per CSS pixel of the browser.
    pub scale: f32,
    /// Whether a plug-in cache is in the profile.
    pub plugins_cached: bool,
}

impl Preset<'_> {
    pub fn text(&self) -> String {
        let mib = self.memory_bytes / MIB;
        // Half for tiles, a quarter for undo (whose tiles live in the same cache), the rest for code and filters.
        let tiles = (mib / 2).max(MIN_TILE_CACHE);
        let undo = (mib / 4).max(MIN_UNDO);
        let new_image = (mib / 8).max(MIN_UNDO);
        let cpus = self.cpus.max(1);
        let swap = quoted(&self.swap.to_string_lossy());
        let plug_ins =
            quoted(&format!("${{gimp_dir}}/plug-ins:${{gimp_plug_in_dir}}/plug-ins:{}", self.plug_ins.display()));
        let mut text = format!(
            "(tile-cache-size {tiles}M)\n(undo-levels 20)\n(undo-size {undo}M)\n(max-new-image-size {new_image}M)\n\
             (num-processors {cpus})\n(swap-path {swap})\n(use-opencl no)\n(check-updates no)\n(debug-policy never)\n\
             (color-profile-policy keep)\n(color-management (mode display) (display-profile-from-gdk no))\n\
             (save-session-info yes)\n(restore-session yes)\n(restore-monitor no)\n(save-device-status yes)\n\
             (plug-in-path {plug_ins})\n"
        );
        // GIMP 3 has icons of twice the size by itself where GTK's window scale is 2.
        let icon_size = match self.scale {
            scale if self.version.is_3() || scale < 1.4 => None,
            scale if scale < 2.5 => Some("large"),
            _ => Some("huge"),
        };
        if let Some(size) = icon_size {
            text.push_str(&format!("(icon-size {size})\n"));
        }
        if self.version.is_3() {
            let version = quoted(&self.version.to_string());
            text.push_str("(metadata-rotation-policy rotate)\n(show-welcome-dialog no)\n");
            text.push_str(&format!("(config-version {version})\n"));
            if self.plugins_cached {
                text.push_str(&format!("(prev-language {})\n", quoted(LOCALE)));
            }
        }
        text
    }
}

/// A string as GIMP's configuration parser and Script-Fu read it.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(letter);
            }
            '\n' => quoted.push_str("\\n"),
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preset(version: &str) -> String {
        let version = version.parse().expect("a version");
        let swap = Path::new("/home/gimp/sw\"ap");
        let plug_ins = Path::new("/run/plug-ins");
        Preset { version, memory_bytes: 2048 * MIB, cpus: 2, swap, plug_ins, scale: 2.0, plugins_cached: true }.text()
    }

    #[test]
    fn sizes_follow_the_session_not_the_host() {
        let text = preset("2.10.34");
        assert!(text.contains("(tile-cache-size 1024M)"), "{text}");
        assert!(text.contains("(undo-size 512M)"), "{text}");
        assert!(text.contains(r#"(swap-path "/home/gimp/sw\"ap")"#), "{text}");
        let path = r#"(plug-in-path "${gimp_dir}/plug-ins:${gimp_plug_in_dir}/plug-ins:/run/plug-ins")"#;
        assert!(text.contains(path), "{text}");
    }

    #[test]
    fn words_of_3_are_not_given_to_2_10() {
        for word in ["metadata-rotation-policy", "show-welcome-dialog", "config-version", "prev-language"] {
            assert!(!preset("2.10.34").contains(word));
            assert!(preset("3.0.4").contains(word));
        }
    }
}
