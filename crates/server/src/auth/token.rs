//! Opaque tokens: 256 random bits, base64url. Only their SHA-256 is stored, so a stolen database opens nothing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore;
use sha2::{Digest, Sha256};

/// A fresh token. Shown to its holder once; store `hash` of it.
///
/// # Errors
/// When the system has no randomness.
pub fn generate() -> Result<String, rand::rand_core::OsError> {
    let mut bytes = [0_u8; 32];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What is stored and looked up. A look-up by hash needs no constant-time compare: knowing how far a hash matches does
/// not help to find a token.
#[must_use]
pub fn hash(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
