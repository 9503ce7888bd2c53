//! The local driver with real sandboxes, control groups, images and mounts. Each test has its own data directory and
//! leaves nothing behind; leftovers fail it.
//!
//! Tests of the server as root need root (or sudo without a password); tests of the server as an ordinary user become
//! one. Both are said in each test by `as_root` and `as_ordinary_user`.

mod local_driver {
    mod errand;
    mod gimp;
    pub mod harness;
    mod isolation;
    mod lifecycle;
    mod limits;
    mod quota;
}
