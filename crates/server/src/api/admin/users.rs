//! `/admin/users`

mod list;
mod reset_link;
mod sign_out;
mod update;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list))
        .routes(routes!(update::update))
        .routes(routes!(sign_out::sign_out))
        .routes(routes!(reset_link::reset_link))
}
