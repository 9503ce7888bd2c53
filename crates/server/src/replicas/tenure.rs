//! A server's right to write, by its own clock: ends no later than the database sees it end.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Cheap to clone; clones end together.
#[derive(Debug, Clone)]
pub struct Tenure(Kind);

#[derive(Debug, Clone)]
enum Kind {
    /// There is one server.
    Alone,
    /// Not begun.
    None,
    Of(Arc<Held>),
}

#[derive(Debug)]
struct Held {
    server: Uuid,
    term: i64,
    until: Mutex<Instant>,
    ended: CancellationToken,
}

impl Tenure {
    pub(super) const fn alone() -> Self {
        Self(Kind::Alone)
    }

    pub(super) const fn none() -> Self {
        Self(Kind::None)
    }

    pub(super) fn of(server: Uuid, term: i64, until: Instant) -> Self {
        Self(Kind::Of(Arc::new(Held { server, term, until: Mutex::new(until), ended: CancellationToken::new() })))
    }

    /// The server and its term, which the database checks with each write; None where there is one server.
    #[must_use]
    pub fn fence(&self) -> Option<(Uuid, i64)> {
        match &self.0 {
            Kind::Of(held) => Some((held.server, held.term)),
            Kind::Alone | Kind::None => None,
        }
    }

    #[must_use]
    pub fn holds(&self) -> bool {
        match &self.0 {
            Kind::Alone => true,
            Kind::None => false,
            Kind::Of(held) => !held.ended.is_cancelled() && Instant::now() < held.until(),
        }
    }

    /// Returns once it does not hold any more.
    pub async fn lost(&self) {
        match &self.0 {
            Kind::Alone => std::future::pending().await,
            Kind::None => {}
            Kind::Of(held) => {
                while self.holds() {
                    tokio::select! {
                        () = held.ended.cancelled() => {}
                        () = tokio::time::sleep_until(held.until()) => {}
                    }
                }
            }
        }
    }

    /// Does `work` while it holds, and not one step more: a server that was stopped and goes on may have lost it meanwhile,
    /// without having heard of it.
    pub fn guard<T: Send + 'static>(&self, mut work: BoxFuture<'static, T>) -> BoxFuture<'static, T> {
        let tenure = self.clone();
        poll_fn(move |context| if tenure.holds() { work.poll_unpin(context) } else { Poll::Pending }).boxed()
    }

    pub(super) fn extend(&self, until: Instant) {
        if let Kind::Of(held) = &self.0 {
            *held.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
        }
    }

    pub(super) fn end(&self) {
        if let Kind::Of(held) = &self.0 {
            held.ended.cancel();
        }
    }
}

impl Held {
    fn until(&self) -> Instant {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_ends_by_itself_unless_it_is_extended() {
        let began = Instant::now();
        let tenure = Tenure::of(Uuid::new_v4(), 1, began + Duration::from_millis(50));
        tenure.extend(began + Duration::from_millis(150));
        tenure.lost().await;
        assert!(!tenure.holds());
        assert!(began.elapsed() >= Duration::from_millis(150));
        assert!(Tenure::alone().holds() && !Tenure::none().holds());
    }

    #[tokio::test]
    async fn work_stands_still_once_it_is_over() {
        let tenure = Tenure::of(Uuid::new_v4(), 1, Instant::now() + Duration::from_secs(60));
        let (done, steps) = std::sync::mpsc::channel();
        let ends = tenure.clone();
        let work = async move {
            for step in 1.. {
                done.send(step).unwrap();
                if step == 3 {
                    ends.end();
                }
                tokio::task::yield_now().await;
            }
        };
        let guarded = tenure.guard(work.boxed());
        assert!(tokio::time::timeout(Duration::from_millis(50), guarded).await.is_err());
        assert_eq!(steps.try_iter().last(), Some(3));
    }

    #[tokio::test]
    async fn clones_end_together() {
        let tenure = Tenure::of(Uuid::new_v4(), 1, Instant::now() + Duration::from_secs(60));
        let clone = tenure.clone();
        tenure.end();
        clone.lost().await;
        assert!(!clone.holds());
    }
}
