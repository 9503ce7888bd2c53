//! Counts a session among those of its status while its keeper lives.

use protocol::session::SessionStatus;

const NAME: &str = "gimp_platform_sessions";

pub(super) struct Counted(SessionStatus);

impl Counted {
    pub fn new(status: SessionStatus) -> Self {
        metrics::gauge!(NAME, "status" => status.as_str()).increment(1);
        Self(status)
    }

    pub fn change_to(&mut self, status: SessionStatus) {
        if status != self.0 {
            *self = Self::new(status);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!(NAME, "status" => self.0.as_str()).decrement(1);
    }
}
