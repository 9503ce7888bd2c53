//! Work that goes on after the answer: looking up who asked for a new password, and mailing. Requests for addresses
//! with and without an account part only here, out of the caller's sight.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::mail::Mailer;
use crate::state::Background;

/// Pieces of work at once; more are refused.
const MAX_AT_ONCE: usize = 64;

/// Clones share everything.
#[derive(Clone)]
pub struct Outbox {
    pub mailer: Mailer,
    places: Arc<Semaphore>,
}

/// Too much to do already, for whomever: try again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxFull;

impl Outbox {
    #[must_use]
    pub fn new(mailer: Mailer) -> Self {
        Self { mailer, places: Arc::new(Semaphore::new(MAX_AT_ONCE)) }
    }

    /// Starts a piece of work. The application waits for it when it ends.
    ///
    /// # Errors
    /// When `MAX_AT_ONCE` are under way.
    pub fn spawn(
        &self,
        background: &Background,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), OutboxFull> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| OutboxFull)?;
        background.spawn_to_finish(async move {
            work.await;
            drop(place);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[tokio::test]
    async fn work_is_bounded_and_finished_before_the_end() {
        let outbox = Outbox::new(Mailer::new(&Settings::default()).expect("no mail server"));
        let background = Background::default();
        let gate = Arc::new(Semaphore::new(0));
        let spawn = || {
            let gate = gate.clone();
            outbox.spawn(&background, async move { drop(gate.acquire().await) })
        };
        for _ in 0..MAX_AT_ONCE {
            assert_eq!(spawn(), Ok(()));
        }
        assert_eq!(spawn(), Err(OutboxFull));
        gate.add_permits(1);
        background.end().await;
        assert_eq!(outbox.places.available_permits(), MAX_AT_ONCE);
    }
}
