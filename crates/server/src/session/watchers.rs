//! Tells the browsers of a user what changed. Only the fact is told: SQL has the state, so nobody can be shown an old
//! one after a newer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use super::lifecycle::Notice;
use crate::ids::{SessionId, UserId};
use crate::workspace::quota::Quota;

/// Events a reader may be behind. One that is further behind is cut off; it connects again and gets the full state.
const BACKLOG: usize = 64;
/// Open event streams of one user.
pub const STREAMS_PER_USER: usize = 16;

#[derive(Debug, Clone)]
pub enum Event {
    /// The session's row changed.
    Session(SessionId),
    Notice(SessionId, Notice),
    Quota(Quota),
}

#[derive(Default)]
pub struct Watchers {
    users: Mutex<HashMap<UserId, broadcast::Sender<Event>>>,
}

/// One stream of events. Counts against its user while it lives.
pub struct Subscription {
    watchers: Arc<Watchers>,
    user: UserId,
    events: broadcast::Receiver<Event>,
}

/// The user has `STREAMS_PER_USER` open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many event streams")]
pub struct TooMany;

impl Watchers {
    /// Tells the user's browsers, if there are any.
    pub fn tell(&self, user: UserId, event: Event) {
        if let Some(sender) = self.users().get(&user) {
            // Fails when the last of them has just gone.
            let _receivers = sender.send(event);
        }
    }

    /// # Errors
    /// `TooMany`.
    pub fn subscribe(self: &Arc<Self>, user: UserId) -> Result<Subscription, TooMany> {
        let mut users = self.users();
        let sender = users.entry(user).or_insert_with(|| broadcast::Sender::new(BACKLOG));
        if sender.receiver_count() >= STREAMS_PER_USER {
            return Err(TooMany);
        }
        Ok(Subscription { watchers: self.clone(), user, events: sender.subscribe() })
    }

    fn users(&self) -> MutexGuard<'_, HashMap<UserId, broadcast::Sender<Event>>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// The next event; None if this reader was too slow.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await.ok()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut users = self.watchers.users();
        // This one still counts.
        if users.get(&self.user).is_some_and(|sender| sender.receiver_count() <= 1) {
            users.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_user_is_told_and_nothing_is_left_behind() {
        let watchers = Arc::new(Watchers::default());
        let (ada, ben) = (UserId::new(), UserId::new());
        let session = SessionId::new();
        let mut stream = watchers.subscribe(ada).unwrap();
        let other = watchers.subscribe(ben).unwrap();
        watchers.tell(ben, Event::Session(SessionId::new()));
        watchers.tell(ada, Event::Session(session));
        assert!(matches!(stream.next().await, Some(Event::Session(id)) if id == session));
        drop((stream, other));
        assert!(watchers.users().is_empty());
    }

    #[tokio::test]
    async fn a_slow_reader_is_cut_off() {
        let watchers = Arc::new(Watchers::default());
        let user = UserId::new();
        let mut stream = watchers.subscribe(user).unwrap();
        for _ in 0..=BACKLOG {
            watchers.tell(user, Event::Session(SessionId::new()));
        }
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn streams_are_limited_and_come_back() {
        let watchers = Arc::new(Watchers::default());
        let user = UserId::new();
        let mut streams: Vec<_> = (0..STREAMS_PER_USER).map(|_| watchers.subscribe(user).unwrap()).collect();
        assert!(watchers.subscribe(user).is_err());
        streams.pop();
        assert!(watchers.subscribe(user).is_ok());
    }
}
