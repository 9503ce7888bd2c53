//! GIMP's profile in the workspace: what a new one is seeded with so that even a first start is fast and undisturbed.
//! Nothing the user already has is touched.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::recovery::replace_file;
use super::version::Version;

/// What `gimp-session warm` writes beside the caches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WarmManifest {
    /// e.g. "2.10.34"
    pub gimp_version: String,
    /// `LANG` under which the plug-ins were asked.
    pub locale: String,
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
}

impl Profile {
    pub fn new(home: &Path, version: Version) -> Self {
        Self {
            folder: home.join(".config/GIMP").join(version.series()),
            babl_cache: home.join(".cache/babl"),
            swap: home.join(".cache/gimp-session/swap"),
        }
    }

    /// Where GIMP puts copies when it is told to go.
    pub fn backups(&self) -> PathBuf {
        self.folder.join("backups")
    }

    /// Fills in what is absent. `warm` may be missing; GIMP then starts slower.
    /// Returns whether a plug-in cache for `language` is in place.
    pub fn seed(&self, warm: &Path, version: Version, language: &str) -> io::Result<bool> {
        fs::create_dir_all(&self.folder)?;
        fs::create_dir_all(&self.babl_cache)?;
        // Swap of an earlier GIMP is of no use to anyone.
        let _ = fs::remove_dir_all(&self.swap);
        fs::create_dir_all(&self.swap)?;

        let manifest = read_manifest(warm).filter(|manifest| manifest.gimp_version == version.to_string());
        let mut cached = false;
        if let Some(manifest) = &manifest {
            copy_if_absent(&warm.join(PLUGIN_CACHE), &self.folder.join(PLUGIN_CACHE))?;
            copy_if_absent(&warm.join(PIXEL_CONVERSION_CACHE), &self.babl_cache.join(PIXEL_CONVERSION_CACHE))?;
            cached = manifest.locale == language && self.folder.join(PLUGIN_CACHE).exists();
        }
        self.maximise(version)?;
        write_if_absent(&self.folder.join("contextrc"), CONTEXT_RC)?;
        if !version.is_3() {
            write_if_absent(&self.folder.join("devicerc"), DEVICE_RC)?;
        }
        Ok(cached)
    }
}

impl Profile {
    /// GIMP takes its window out of the maximised state if it was not maximised last time; here it always is.
    /// A new profile gets the docks that GIMP comes with.
    fn maximise(&self, version: Version) -> io::Result<()> {
        let own = self.folder.join("sessionrc");
        let shipped = if version.is_3() { "/etc/gimp/3.0/sessionrc" } else { "/etc/gimp/2.0/sessionrc" };
        let text = match fs::read_to_string(&own).or_else(|_| fs::read_to_string(shipped)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let maximised =
            text.replace(r#"(maximized "no")"#, r#"(maximized "yes")"#).replace("(maximized no)", "(maximized yes)");
        if own.exists() && maximised == text { Ok(()) } else { replace_file(&own, maximised.as_bytes()) }
    }
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
