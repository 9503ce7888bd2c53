//! Compiles the plug-in once for each version of GIMP's library that is here. Where there is none the crate builds all the
//! same, without it. `GIMP_LINK_2` and `GIMP_LINK_3` name plug-ins that were compiled elsewhere, as `scripts/gimp3 link` does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const SOURCE: &str = "csrc/gimp-link.c";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=PKG_CONFIG_PATH");
    // So that a library that comes, goes or changes is noticed.
    let folders = pkg_config(&["--variable", "pc_path", "pkg-config"]).unwrap_or_default();
    for folder in folders.trim().split(':').filter(|folder| Path::new(folder).is_dir()) {
        println!("cargo::rerun-if-changed={folder}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names a folder"));
    let versions = [("gimp-2.0", "gimp-link-2", "GIMP_LINK_2"), ("gimp-3.0", "gimp-link-3", "GIMP_LINK_3")];
    let built = versions.map(|(library, name, variable)| {
        let program = out.join(name);
        println!("cargo::rerun-if-env-changed={variable}");
        if let Some(ready) = env::var_os(variable).map(PathBuf::from) {
            println!("cargo::rerun-if-changed={}", ready.display());
            fs::copy(&ready, &program).unwrap_or_else(|error| panic!("{variable}, {}: {error}", ready.display()));
            return true;
        }
        match pkg_config(&["--cflags", "--libs", library, "json-glib-1.0", "gio-unix-2.0"]) {
            Some(flags) => {
                compile(&flags, &program);
                true
            }
            None => {
                fs::write(&program, []).expect("writes to the build's folder");
                false
            }
        }
    });
    if built == [false, false] {
        println!(
            "cargo::warning=without the GIMP link, as libgimp2.0-dev or libgimp-3.0-dev, or libjson-glib-dev, is not \
             installed: nothing is known of GIMP's documents"
        );
    }
}

fn pkg_config(arguments: &[&str]) -> Option<String> {
    let output = Command::new("pkg-config").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn compile(flags: &str, program: &Path) {
    let compiler = cc::Build::new().opt_level(2).warnings(true).extra_warnings(true).get_compiler();
    let flags = flags.split_whitespace();
    // Headers of others are not ours to put right.
    let flags =
        flags.map(|flag| flag.strip_prefix("-I").map_or_else(|| flag.to_owned(), |path| format!("-isystem{path}")));
    let status = compiler.to_command().arg(SOURCE).arg("-o").arg(program).args(flags).status();
    assert!(status.is_ok_and(|status| status.success()), "{SOURCE} does not compile");
}
