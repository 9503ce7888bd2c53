//! Compiles the C beside x264.

fn main() {
    println!("cargo::rerun-if-changed=csrc/x264.c");
    cc::Build::new().file("csrc/x264.c").warnings(true).extra_warnings(true).compile("session_video");
    // Dynamically: x264 is under the GPL, and its security fixes come with the distribution.
    println!("cargo::rustc-link-lib=dylib=x264");
}
