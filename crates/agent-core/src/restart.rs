//! How many unplanned restarts a session gets before it is given up.

use std::collections::VecDeque;
use std::time::Duration;

/// Restarts allowed within `WINDOW`.
pub const MAX_RESTARTS: usize = 3;
/// Sliding window in which `MAX_RESTARTS` are counted.
pub const WINDOW: Duration = Duration::from_secs(600);

/// Counts restarts in a sliding window.
#[derive(Debug, Clone, Default)]
pub struct RestartBudget {
    spent: VecDeque<Duration>,
}

impl RestartBudget {
    /// Takes one restart at `now`; false when the budget is used up. `now` never goes back.
    pub fn spend(&mut self, now: Duration) -> bool {
        while self.spent.front().is_some_and(|at| now.saturating_sub(*at) > WINDOW) {
            self.spent.pop_front();
        }
        if self.spent.len() >= MAX_RESTARTS {
            return false;
        }
        self.spent.push_back(now);
        true
    }

    /// Gives the last one back: it turned out to belong to another.
    pub fn refund(&mut self) {
        self.spent.pop_back();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn three_restarts_then_no_more_until_the_first_is_ten_minutes_old() {
        let mut budget = RestartBudget::default();
        let at = Duration::from_secs;
        assert!(budget.spend(at(0)) && budget.spend(at(1)) && budget.spend(at(2)));
        assert!(!budget.spend(at(600)));
        assert!(budget.spend(at(601)));
        assert!(!budget.spend(at(601)));
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_than_the_budget(gaps in prop::collection::vec(0u64..400, 1..60)) {
            let mut budget = RestartBudget::default();
            let mut now = Duration::ZERO;
            let mut granted: Vec<Duration> = Vec::new();
            for gap in gaps {
                now += Duration::from_secs(gap);
                let recent = granted.iter().filter(|at| now - **at <= WINDOW).count();
                prop_assert_eq!(budget.spend(now), recent < MAX_RESTARTS);
                if recent < MAX_RESTARTS {
                    granted.push(now);
                }
            }
        }
    }
}
