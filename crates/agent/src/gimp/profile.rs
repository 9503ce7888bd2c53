//! GIMP's profile in the workspace: what a new one is seeded with so that even a first start is fast and undisturbed.
//! Nothing the user already has is touched.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::recovery::replace_file;
use super::version::Version;
use crate::display::xsettings::Density;

/// What `gimp-session warm` writes beside the caches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WarmManifest {
    /// e.g. "2.10.34"
    pub gimp_version: String,
    /// The home in which the caches were made. GIMP's list of plug-ins names the platform's own by it.
    #[serde(default)]
    pub home: PathBuf,
}

pub const MANIFEST: &str = "manifest.json";
pub const PLUGIN_CACHE: &str = "pluginrc";
pub const PIXEL_CONVERSION_CACHE: &str = "babl-fishes";

/// Folders of one GIMP series in one workspace.
#[derive(Debug, Clone)]
pub struct Profile {
    /// `~/.config/GIMP/2.10`
    pub folder: PathBuf,
    /// `~/.cache/babl`
    pub babl_cache: PathBuf,
    /// Where GIMP swaps tiles to.
    pub swap: PathBuf,
    /// Where GTK keeps how its file dialogs begin.
    file_dialogs: PathBuf,
    home: PathBuf,
}

impl Profile {
    pub fn new(home: &Path, version: Version) -> Self {
        Self {
            home: home.to_owned(),
            folder: home.join(".config/GIMP").join(version.series()),
            babl_cache: home.join(".cache/babl"),
            swap: home.join(".cache/gimp-session/swap"),
            file_dialogs: home.join(".config").join(if version.is_3() {
                "glib-2.0/settings/keyfile"
            } else {
                "gtk-2.0/gtkfilechooser.ini"
            }),
        }
    }

    /// Where GIMP puts copies when it is told to go.
    pub fn backups(&self) -> PathBuf {
        self.folder.join("backups")
    }

    /// Fills in what is absent. `warm` may be missing; GIMP then starts slower.
    /// Returns whether a plug-in cache is in place.
    pub fn seed(&self, warm: &Path, version: Version, scale: f32) -> io::Result<bool> {
        fs::create_dir_all(&self.folder)?;
        fs::create_dir_all(&self.babl_cache)?;
        // Swap of an earlier GIMP is of no use to anyone.
        let _ = fs::remove_dir_all(&self.swap);
        fs::create_dir_all(&self.swap)?;

        let mut cached = false;
        let made = read_manifest(warm).filter(|manifest| manifest.gimp_version == version.to_string());
        if let Some(made) = made {
            let (from, to) = (warm.join(PLUGIN_CACHE), self.folder.join(PLUGIN_CACHE));
            if from.exists() && !to.exists() {
                copy_for_another_home(&from, &to, &made.home, &self.home)?;
            }
            copy_if_absent(&warm.join(PIXEL_CONVERSION_CACHE), &self.babl_cache.join(PIXEL_CONVERSION_CACHE))?;
            cached = self.folder.join(PLUGIN_CACHE).exists();
        }
        self.arrange(version, scale)?;
        write_if_absent(&self.folder.join("contextrc"), CONTEXT_RC)?;
        if !version.is_3() {
            write_if_absent(&self.folder.join("devicerc"), DEVICE_RC)?;
        }
        if let Some(folder) = self.file_dialogs.parent() {
            fs::create_dir_all(folder)?;
        }
        write_if_absent(&self.file_dialogs, if version.is_3() { GTK_3_FILE_DIALOGS } else { GTK_2_FILE_DIALOGS })?;
        Ok(cached)
    }
}

impl Profile {
    /// GIMP takes its window out of the maximised state if it was not maximised last time; here it always is.
    /// A new profile gets the docks that GIMP comes with, as wide as `scale` asks for.
    fn arrange(&self, version: Version, scale: f32) -> io::Result<()> {
        let own = self.folder.join("sessionrc");
        let shipped = if version.is_3() { "/etc/gimp/3.0/sessionrc" } else { "/etc/gimp/2.0/sessionrc" };
        let arranged = if own.exists() {
            let text = fs::read_to_string(&own)?;
            let arranged = maximised(&text);
            if arranged == text {
                return Ok(());
            }
            arranged
        } else {
            match fs::read_to_string(shipped) {
                Ok(text) => widened(&maximised(&text), if version.is_3() { in_gtk3_pixels(scale) } else { scale }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            }
        };
        replace_file(&own, arranged.as_bytes())
    }
}

fn maximised(session: &str) -> String {
    session.replace(r#"(maximized "no")"#, r#"(maximized "yes")"#)
}

/// GTK 3 itself doubles what is drawn on dense screens.
fn in_gtk3_pixels(scale: f32) -> f32 {
    let factor = u16::try_from(Density::new(scale).window_factor()).unwrap_or(1);
    scale / f32::from(factor)
}

/// Multiplies the widths of the docks, which GIMP keeps in pixels.
fn widened(session: &str, scale: f32) -> String {
    const WIDTH: &str = "-docks-width \"";
    let mut parts = session.split(WIDTH);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        text.push_str(WIDTH);
        match number.parse::<u16>() {
            Ok(width) => text.push_str(&format!("{:.0}", f32::from(width) * scale)),
            Err(_) => text.push_str(number),
        }
        text.push_str(rest);
    }
    text
}

pub fn read_manifest(warm: &Path) -> Option<WarmManifest> {
    serde_json::from_slice(&fs::read(warm.join(MANIFEST)).ok()?).ok()
}

/// Copies a file with its time of modification, which the caches are judged by.
pub fn copy_with_time(from: &Path, to: &Path) -> io::Result<()> {
    let mut temporary = to.as_os_str().to_owned();
    temporary.push(".new");
    let mut source = File::open(from)?;
    let mut target = File::create(&temporary)?;
    io::copy(&mut source, &mut target)?;
    target.set_modified(source.metadata()?.modified()?)?;
    fs::rename(&temporary, to)
}

/// The same of a file in which the home has another name.
fn copy_for_another_home(from: &Path, to: &Path, was: &Path, is: &Path) -> io::Result<()> {
    let (was, is) = (was.as_os_str().as_encoded_bytes(), is.as_os_str().as_encoded_bytes());
    let bytes = fs::read(from)?;
    let mut renamed = Vec::with_capacity(bytes.len());
    let mut rest = &bytes[..];
    while let Some(at) = rest.windows(was.len().max(1)).position(|window| window == was) {
        renamed.extend_from_slice(&rest[..at]);
        renamed.extend_from_slice(is);
        rest = &rest[at + was.len()..];
    }
    renamed.extend_from_slice(rest);
    let mut temporary = to.as_os_str().to_owned();
    temporary.push(".new");
    fs::write(&temporary, renamed)?;
    File::options().write(true).open(&temporary)?.set_modified(fs::metadata(from)?.modified()?)?;
    fs::rename(&temporary, to)
}

fn copy_if_absent(from: &Path, to: &Path) -> io::Result<()> {
    if to.exists() || !from.exists() { Ok(()) } else { copy_with_time(from, to) }
}

fn write_if_absent(path: &Path, text: &str) -> io::Result<()> {
    if path.exists() { Ok(()) } else { fs::write(path, text) }
}

/// Pressure of a pen shows as width at once; GIMP's own default draws lines of constant width.
const CONTEXT_RC: &str = r#"(tool "gimp-paintbrush-tool")
(paint-info "gimp-paintbrush")
(brush "2. Hardness 100")
(dynamics "Pressure Size")
"#;

/// GTK begins with the recently used files, where there is no folder to save a first file in.
const GTK_2_FILE_DIALOGS: &str = "[Filechooser Settings]\nStartupMode=cwd\n";
const GTK_3_FILE_DIALOGS: &str = "[org/gtk/settings/file-chooser]\nstartup-mode='cwd'\n";

/// GIMP 2.10 leaves pens off unless told otherwise. The names are those of the session's pen devices.
const DEVICE_RC: &str = r#"(GimpDeviceInfo "Browser pen stylus"
    (tool-options "GimpPaintOptions"
        (tool "gimp-paintbrush-tool")
        (brush "2. Hardness 100")
        (brush-size 40)
        (brush-hardness 1))
    (mode screen))
(GimpDeviceInfo "Browser pen eraser"
    (tool-options "GimpEraserOptions"
        (tool "gimp-eraser-tool")
        (brush "2. Hardness 100")
        (brush-size 40)
        (brush-hardness 1))
    (mode screen))
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docks_grow_with_the_scale_and_the_rest_stays() {
        let shipped =
            r#"(aux-info (left-docks-width "188") (right-docks-width "205") (maximized "no")) (position 336)"#;
        let arranged = widened(&maximised(shipped), 2.0);
        let wanted =
            r#"(aux-info (left-docks-width "376") (right-docks-width "410") (maximized "yes")) (position 336)"#;
        assert_eq!(arranged, wanted);
        assert_eq!(widened("no docks", 2.0), "no docks");
        assert_eq!([1.0, 1.5, 2.0, 3.0].map(in_gtk3_pixels), [1.0, 1.5, 1.0, 1.5]);
    }

    #[test]
    fn what_the_user_has_is_kept() {
        let home = tempfile::tempdir().expect("temporary folder");
        let version = "2.10.34".parse().expect("a version");
        let profile = Profile::new(home.path(), version);
        fs::create_dir_all(&profile.folder).expect("creates");
        for name in ["contextrc", "devicerc", "sessionrc"] {
            fs::write(profile.folder.join(name), "mine (maximized \"no\")").expect("writes");
        }
        fs::create_dir_all(&profile.swap).expect("creates");
        fs::write(profile.swap.join("gimpswap.1"), "old").expect("writes");

        profile.seed(&home.path().join("none"), version, 2.0).expect("seeds");

        let read = |name: &str| fs::read_to_string(profile.folder.join(name)).expect("reads");
        assert_eq!(read("contextrc"), "mine (maximized \"no\")");
        assert_eq!(read("sessionrc"), "mine (maximized \"yes\")");
        let dialogs = home.path().join(".config/gtk-2.0/gtkfilechooser.ini");
        assert!(fs::read_to_string(dialogs).expect("reads").contains("StartupMode=cwd"));
        assert!(!profile.swap.join("gimpswap.1").exists());
    }

    #[test]
    fn caches_keep_their_time_and_serve_only_their_version() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let warm = folder.path().join("warm");
        fs::create_dir(&warm).expect("creates");
        let manifest = WarmManifest { gimp_version: "2.10.34".into(), home: "/tmp/made".into() };
        fs::write(warm.join(MANIFEST), serde_json::to_vec(&manifest).expect("serialises")).expect("writes");
        fs::write(warm.join(PLUGIN_CACHE), b"\xff \"/tmp/made/a\" /tmp/mad /tmp/made").expect("writes");
        let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        File::options()
            .append(true)
            .open(warm.join(PLUGIN_CACHE))
            .and_then(|file| file.set_modified(long_ago))
            .expect("sets");

        for (version, cached) in [("2.10.34", true), ("2.10.36", false)] {
            let home = folder.path().join(version);
            let version = version.parse().expect("a version");
            let profile = Profile::new(&home, version);
            assert_eq!(profile.seed(&warm, version, 1.0).expect("seeds"), cached);
            let copy = fs::metadata(profile.folder.join(PLUGIN_CACHE)).and_then(|data| data.modified()).ok();
            assert_eq!(copy, cached.then_some(long_ago));
            let home = home.to_str().expect("UTF-8");
            let expected = [&b"\xff \""[..], format!("{home}/a\" /tmp/mad {home}").as_bytes()].concat();
            assert_eq!(fs::read(profile.folder.join(PLUGIN_CACHE)).ok(), cached.then_some(expected));
        }
    }
}
