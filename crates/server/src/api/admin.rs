//! `/admin`: what only administrators may see and do. Handlers that others add here take `CurrentAdmin`.

pub mod audit;
pub mod invites;
pub mod page;
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
}
