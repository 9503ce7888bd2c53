//! `gimp-session check`: what is installed, for `gimp-platform doctor`.

use serde::Serialize;

use crate::display::server::{XORG, find_program, module};
use crate::gimp::version;

/// One thing a session needs or can use.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    name: &'static str,
    present: bool,
    /// Without it no session starts, unless `instead` is there.
    required: bool,
    /// Path or version found.
    found: Option<String>,
    /// Debian package that brings it.
    package: &'static str,
    instead: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// Whether a session can start here.
    usable: bool,
    items: Vec<Item>,
}

/// Prints the report as JSON.
pub fn print() -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(&report())?);
    Ok(())
}

fn report() -> Report {
    let path = |found: Option<std::path::PathBuf>| found.map(|path| path.to_string_lossy().into_owned());
    let program = |name: &str| path(find_program(name));
    let xorg = XORG.iter().map(std::path::PathBuf::from).find(|path| path.exists());
    let gimp = find_program("gimp").and_then(|_| version::installed().ok());
    let draws_with_gtk_2 = gimp.is_some_and(|version| !version.is_3());
    let item = |name, package, found: Option<String>, required, instead| Item {
        name,
        present: found.is_some(),
        required,
        found,
        package,
        instead,
    };
    let xvnc = Some("Xvnc");
    // The separator changed between releases of librsvg.
    let svg = library("gdk-pixbuf-2.0/2.10.0/loaders", &["libpixbufloader-svg.so", "libpixbufloader_svg.so"]);
    let mut items = vec![
        item("gimp", "gimp", gimp.map(|version| version.to_string()), true, None),
        item("Xorg", "xserver-xorg-core", path(xorg), true, xvnc),
        item("dummy driver", "xserver-xorg-video-dummy", path(module("drivers/dummy_drv.so")), true, xvnc),
        item("libvnc", "tigervnc-xorg-extension", path(module("extensions/libvnc.so")), true, xvnc),
        item("Xvnc", "tigervnc-standalone-server", program("Xvnc"), false, None),
        item("openbox", "openbox", program("openbox"), true, None),
        item("dbus-daemon", "dbus-daemon", program("dbus-daemon"), true, None),
        item("xkbcomp", "x11-xkb-utils", program("xkbcomp"), true, None),
        // GIMP's icons are SVG; without the loader they show as broken.
        item("SVG icons", "librsvg2-common", svg, false, None),
    ];
    if draws_with_gtk_2 {
        // Its themes need it: without, what can't be used now looks as if it could.
        let engine = library("gtk-2.0/2.10.0/engines", &["libpixmap.so"]);
        items.push(item("theme engine", "gtk2-engines-pixbuf", engine, false, None));
    }
    let present = |name: &str| items.iter().any(|item| item.name == name && item.present);
    let usable =
        items.iter().filter(|item| item.required).all(|item| item.present || item.instead.is_some_and(present));
    Report { usable, items }
}

/// One of these files in a folder of any of the system's library folders.
fn library(folder: &str, names: &[&str]) -> Option<String> {
    let libraries = std::fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok).map(|entry| entry.path());
    libraries
        .chain(["/usr/lib".into(), "/usr/lib64".into()])
        .flat_map(|library| names.iter().map(move |name| library.join(folder).join(name)))
        .find(|path| path.exists())
        .map(|path| path.to_string_lossy().into_owned())
}
