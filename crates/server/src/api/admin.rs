//! `/admin`: what only administrators may see and do. Handlers that others add here take `CurrentAdmin`.

pub mod audit;
pub mod invites;
pub mod machine;
pub mod page;
pub mod sessions;
pub mod users;

#[cfg(test)]
mod tests;

use utoipa_axum::router::OpenApiRouter;

use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .nest("/users", users::router())
        .nest("/invites", invites::router())
        .nest("/audit", audit::router())
        .nest("/sessions", sessions::router())
        .nest("/machine", machine::router())
}
