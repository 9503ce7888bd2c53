//! `/admin/sessions`: everybody's sessions.

mod end;
mod list;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list::list)).routes(routes!(end::end))
}

#[cfg(test)]
mod tests;
