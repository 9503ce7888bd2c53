//! The one place that reads the wall clock, so that tests can move it.

use std::sync::Arc;

use time::{Duration, OffsetDateTime};
use tokio::sync::watch;

/// Longest sleep before the wall clock is read again: it may have been set, or the machine have slept.
const GLANCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Wall clock, UTC, whole milliseconds (what both databases keep). Clones share the shift.
///
/// SQLite compares times as text of varying length: in SQL the order of two times within one second is not to be relied
/// on. Sort by id, and compare in Rust where it matters.
#[derive(Debug, Clone)]
pub struct Clock {
    shift: Arc<watch::Sender<Duration>>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { shift: Arc::new(watch::Sender::new(Duration::ZERO)) }
    }
}

impl Clock {
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        let now = OffsetDateTime::now_utc().saturating_add(*self.shift.borrow());
        now.replace_millisecond(now.millisecond()).unwrap_or(now)
    }

    /// Returns once `now` is `until` or later.
    pub async fn sleep_until(&self, until: OffsetDateTime) {
        let mut shift = self.shift.subscribe();
        loop {
            shift.mark_unchanged();
            let left = until - self.now();
            let Ok(left) = std::time::Duration::try_from(left) else { return };
            if left.is_zero() {
                return;
            }
            // Never early: `now` cuts off what is below a millisecond.
            let left = (left + std::time::Duration::from_millis(1)).min(GLANCE);
            let _moved_or_over = tokio::time::timeout(left, shift.changed()).await;
        }
    }

    /// Moves the clock forward and wakes who sleeps by it; for tests.
    pub fn advance(&self, by: Duration) {
        self.shift.send_modify(|shift| *shift = shift.saturating_add(by));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_milliseconds() {
        assert_eq!(Clock::default().now().nanosecond() % 1_000_000, 0);
    }

    #[tokio::test]
    async fn advancing_wakes_sleepers_of_every_clone() {
        let clock = Clock::default();
        let until = clock.now() + Duration::hours(2);
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(until).await }
        });
        clock.advance(Duration::hours(1));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::hours(1));
        sleeper.await.unwrap();
        assert!(clock.now() >= until);
    }

    #[tokio::test]
    async fn short_sleeps_end_by_themselves_and_past_ones_at_once() {
        let clock = Clock::default();
        let until = clock.now() + Duration::milliseconds(5);
        clock.sleep_until(until).await;
        assert!(clock.now() >= until);
        clock.sleep_until(until).await;
    }
}
