//! The key that agents' tokens and ICE user names are signed with. A token is derived, never stored: nothing secret is in
//! SQL, and a server that starts again knows the tokens of the sessions it finds.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use rand::TryRngCore;
use sha2::Sha256;

use crate::config::Settings;
use crate::ids::SessionId;

const FILE: &str = "key";
const LENGTH: usize = 32;
/// Keeps these MACs apart from whatever else the key signs.
const PURPOSE: &[u8] = b"gimp-session agent token\0";

/// 256 random bits in `DATA/private/key`, mode 0600, made at the first start.
#[derive(Clone, PartialEq, Eq)]
pub struct AgentKey([u8; LENGTH]);

/// Never shows the key.
impl std::fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AgentKey")
    }
}

impl AgentKey {
    /// The one that the settings name, else the data directory's own.
    ///
    /// # Errors
    /// As `load_or_create`; a key that is named is never made.
    pub fn of(settings: &Settings) -> std::io::Result<Self> {
        match &settings.key_path {
            Some(path) => read(path),
            None => Self::load_or_create(&settings.private_dir()),
        }
    }

    /// Reads the key from `private_dir`, which must exist; makes it if there is none. Two servers that start at once
    /// agree on one key.
    ///
    /// # Errors
    /// When the file can't be read or written, or is not 32 bytes long: then someone damaged it, and a fresh key would
    /// cut off every running session, so that is for a person to decide.
    pub fn load_or_create(private_dir: &Path) -> std::io::Result<Self> {
        let path = private_dir.join(FILE);
        match read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                create(private_dir, &path)?;
                read(&path)
            }
            result => result,
        }
    }

    /// The token of one session's agent: 43 characters of base64url.
    #[must_use]
    pub fn token(&self, session: SessionId) -> String {
        let mac = self.mac(PURPOSE).chain_update(session.0.as_bytes());
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    }

    /// A MAC that has begun with `purpose`, which ends in a zero byte and has none before, so that none is the
    /// beginning of another.
    #[must_use]
    pub(crate) fn mac(&self, purpose: &'static [u8]) -> Hmac<Sha256> {
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { unreachable!("HMAC takes keys of any length") };
        mac.chain_update(purpose)
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) const fn of_bytes(key: [u8; LENGTH]) -> Self {
        Self(key)
    }
}

fn read(path: &Path) -> std::io::Result<AgentKey> {
    let mut bytes = Vec::with_capacity(LENGTH + 1);
    std::fs::File::open(path)?.take(LENGTH as u64 + 1).read_to_end(&mut bytes)?;
    let key = <[u8; LENGTH]>::try_from(bytes).map_err(|bytes| {
        std::io::Error::new(
            ErrorKind::InvalidData,
            format!(
                "{} must hold {LENGTH} bytes, not {}. Restore it from a backup; if you remove it, a new key is made \
                 and sessions that run now are lost.",
                path.display(),
                bytes.len()
            ),
        )
    })?;
    Ok(AgentKey(key))
}

/// Whole or not at all: written aside, then linked into place unless another server was quicker.
fn create(dir: &Path, path: &Path) -> std::io::Result<()> {
    let mut key = [0_u8; LENGTH];
    rand::rngs::OsRng.try_fill_bytes(&mut key).map_err(std::io::Error::other)?;
    let mut file = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o600)).tempfile_in(dir)?;
    file.write_all(&key)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => std::fs::File::open(dir)?.sync_all(),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_stays_the_same_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = AgentKey::load_or_create(dir.path()).unwrap();
        assert_eq!(AgentKey::load_or_create(dir.path()).unwrap(), first);
        let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let files = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(files, 1, "nothing is left aside");
    }

    #[test]
    fn servers_that_start_at_once_agree() {
        let dir = tempfile::tempdir().unwrap();
        let keys: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| AgentKey::load_or_create(dir.path()))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }

    #[test]
    fn tokens_differ_by_session_and_by_key() {
        let (a, b) = (AgentKey([1; LENGTH]), AgentKey([2; LENGTH]));
        let (x, y) = (SessionId::new(), SessionId::new());
        assert_eq!(a.token(x), a.token(x));
        assert_ne!(a.token(x), a.token(y));
        assert_ne!(a.token(x), b.token(x));
        assert_eq!(a.token(x).len(), 43);
        assert!(!format!("{a:?}").contains('1'));
    }

    #[test]
    fn a_damaged_key_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), b"short").unwrap();
        let error = AgentKey::load_or_create(dir.path()).unwrap_err();
        assert!(error.to_string().contains("Restore it from a backup"), "{error}");
        assert_eq!(std::fs::read(dir.path().join(FILE)).unwrap(), b"short", "left as it was");
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        assert!(AgentKey::load_or_create(Path::new("/nonexistent")).is_err());
    }
}
