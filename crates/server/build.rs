//! Prepares the web pages for embedding: copies `web/dist` and adds compressed variants. Without a web build there is a
//! page that says how to make one, so that Rust alone builds and tests without Node.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::{env, fs};

const PLACEHOLDER: &str = "<!doctype html>
<html lang=\"en\"><meta charset=\"utf-8\"><title>GIMP Streaming Platform</title>
<h1>The web pages are not built</h1>
<p>This server was compiled without them. Build with <code>./run</code>, or run <code>npm ci</code> and
<code>npm run build</code> in the folder <code>web</code> and compile again. The API works: see
<a href=\"/api/docs\">its description</a>.</p></html>
";

fn main() -> Result<(), Box<dyn Error>> {
    let out = Path::new(&env::var("OUT_DIR")?).join("web");
    let dist = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../web/dist");
    // Cargo compiles everything again each time when a watched path is missing.
    fs::create_dir_all(&dist)?;
    println!("cargo::rerun-if-changed={}", dist.display());
    println!("cargo::rerun-if-changed=build.rs");
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    fs::create_dir_all(&out)?;
    if dist.join("index.html").exists() {
        copy(&dist, &out)?;
    } else {
        println!("cargo::warning=web/dist is empty: the server gets a page that says so instead of the web pages");
        add(&out.join("index.html"), PLACEHOLDER.as_bytes())?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let Some(name) = path.file_name() else { continue };
        let target = to.join(name);
        if path.is_dir() {
            copy(&path, &target)?;
            continue;
        }
        add(&target, &fs::read(&path)?)?;
    }
    Ok(())
}

/// Writes a file, and its compressed variants where they are smaller.
fn add(target: &Path, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    fs::write(target, bytes)?;
    let extension = target.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if !matches!(extension, "html" | "js" | "mjs" | "css" | "svg" | "json" | "webmanifest" | "wasm" | "txt") {
        return Ok(());
    }
    let mut brotli = vec![];
    brotli::BrotliCompress(&mut &*bytes, &mut brotli, &brotli::enc::BrotliEncoderParams::default())?;
    let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
    gzip.write_all(bytes)?;
    for (suffix, compressed) in [("br", brotli), ("gz", gzip.finish()?)] {
        if compressed.len() < bytes.len() {
            fs::write(target.with_extension(format!("{extension}.{suffix}")), compressed)?;
        }
    }
    Ok(())
}
