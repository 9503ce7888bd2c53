//! How many look at each session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ids::SessionId;

/// Pictures one session is shown in at once. Viewers of the picture stream share its encoders; each by VNC costs the
/// display server one.
pub const PER_SESSION: u32 = 24;
const GAUGE: &str = "gimp_platform_gateway_connections";

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Viewers(Arc<Mutex<HashMap<SessionId, u32>>>);

/// One viewer, counted while it lives.
pub struct Viewer {
    viewers: Viewers,
    session: SessionId,
}

impl Viewers {
    /// None: the session has `PER_SESSION` already.
    #[must_use]
    pub fn admit(&self, session: SessionId) -> Option<Viewer> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(session).or_default();
        if *count >= PER_SESSION {
            return None;
        }
        *count += 1;
        metrics::gauge!(GAUGE).increment(1);
        Some(Viewer { viewers: self.clone(), session })
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        metrics::gauge!(GAUGE).decrement(1);
        let mut counts = self.viewers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.session) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_session_has_its_own_places_and_gets_them_back() {
        let viewers = Viewers::default();
        let (one, other) = (SessionId::new(), SessionId::new());
        let mut admitted: Vec<_> = (0..PER_SESSION).map(|_| viewers.admit(one).unwrap()).collect();
        assert!(viewers.admit(one).is_none());
        assert!(viewers.admit(other).is_some());
        admitted.pop();
        assert!(viewers.admit(one).is_some());
        drop(admitted);
        assert!(viewers.0.lock().unwrap().is_empty());
    }
}
