//! Small pictures of files, for listings.

use super::path::Name;

/// Most memory one picture may take while it is decoded, bytes.
pub const MAX_MEMORY: u64 = 192 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Cache;

/// Whether a file's name promises a picture that can be shown small.
#[must_use]
pub fn may_have(name: &Name) -> bool {
    let _ = name;
    false
}
