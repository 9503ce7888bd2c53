//! A generous limit on requests per address, against runaway programs. Sign-in has stricter ones of its own.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::client_address::ClientAddress;
use crate::error::Problem;

/// Counts per bucket, not per address: memory stays bounded whoever knocks. Which addresses share one is random.
#[derive(Clone)]
pub(super) struct RequestLimit {
    buckets: Arc<DefaultKeyedRateLimiter<u16>>,
    hasher: RandomState,
    clock: DefaultClock,
}

impl RequestLimit {
    pub fn new(per_minute: u32) -> Self {
        let quota = Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
        Self {
            buckets: Arc::new(RateLimiter::keyed(quota)),
            hasher: RandomState::new(),
            clock: DefaultClock::default(),
        }
    }

    fn bucket(&self, address: ClientAddress) -> u16 {
        u16::try_from(self.hasher.hash_one(address.network()) & 0xffff).unwrap_or_default()
    }
}

pub(super) async fn check(
    State(limit): State<RequestLimit>,
    address: ClientAddress,
    request: Request,
    next: Next,
) -> Response {
    match limit.buckets.check_key(&limit.bucket(address)) {
        Ok(()) => next.run(request).await,
        Err(until) => {
            let wait = until.wait_time_from(limit.clock.now()).as_secs() + 1;
            Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rateLimited",
                format!("Too many requests from your address. Try again in {wait} s."),
            )
            .retry_after(wait)
            .into_response()
        }
    }
}
