//! Where a request comes from, as sign-ins, limits and the audit trail record it.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;

use crate::api::client_address::ClientAddress;

/// Characters kept of a `User-Agent`.
const MAX_USER_AGENT: usize = 400;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    pub address: IpAddr,
    pub user_agent: Option<String>,
}

impl Client {
    /// Somebody on the machine itself, at the command line.
    #[must_use]
    pub fn local() -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::LOCALHOST), user_agent: None }
    }
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let ClientAddress(address) = ClientAddress::from_request_parts(parts, state).await?;
        let user_agent = parts.headers.get(header::USER_AGENT).map(|value| {
            String::from_utf8_lossy(value.as_bytes()).chars().filter(|c| !c.is_control()).take(MAX_USER_AGENT).collect()
        });
        Ok(Self { address, user_agent })
    }
}
