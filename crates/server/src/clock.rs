//! The one place that reads the wall clock, so that tests can move it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use time::{Duration, OffsetDateTime};

/// Wall clock, UTC, whole milliseconds (what both databases keep). Clones share the shift.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    shift_ms: Arc<AtomicI64>,
}

impl Clock {
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        let now = OffsetDateTime::now_utc() + Duration::milliseconds(self.shift_ms.load(Ordering::Relaxed));
        now.replace_millisecond(now.millisecond()).unwrap_or(now)
    }

    /// Moves the clock forward; for tests.
    pub fn advance(&self, by: Duration) {
        let ms = i64::try_from(by.whole_milliseconds()).unwrap_or(i64::MAX);
        self.shift_ms.fetch_add(ms, Ordering::Relaxed);
    }
}
