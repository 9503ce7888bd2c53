//! `/files`: the files of the signed-in user.

pub(in crate::api) mod attachment;
mod content;
mod create_folder;
mod list;
mod problem;
pub mod range;
mod rename;
mod thumbnail;
mod trash;
pub mod uploads;
mod versions;

use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::Problem;
use crate::state::App;
use crate::workspace::path::WorkspacePath;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::files_list))
        .routes(routes!(create_folder::files_create_folder))
        .routes(routes!(rename::files_move))
        .routes(routes!(content::files_content))
        .routes(routes!(thumbnail::files_thumbnail))
        .routes(routes!(trash::list::trash_list, trash::put::trash_put, trash::empty::trash_empty))
        .routes(routes!(trash::restore::trash_restore))
        .routes(routes!(trash::delete::trash_delete))
        .routes(routes!(versions::list::versions_list))
        .routes(routes!(versions::content::versions_content))
        .routes(routes!(versions::thumbnail::versions_thumbnail))
        .routes(routes!(versions::restore::versions_restore))
        .routes(routes!(versions::delete::versions_delete))
        .routes(routes!(uploads::create::uploads_create))
        .routes(routes!(
            uploads::progress::uploads_progress,
            uploads::receive::uploads_receive,
            uploads::cancel::uploads_cancel
        ))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PathQuery {
    /// Relative to the workspace, as `path` of an entry gives it; empty for the workspace itself.
    #[serde(default)]
    path: String,
}

/// A path from a request. `field` names where it stood.
fn parse_path(field: &str, text: &str) -> Result<WorkspacePath, Problem> {
    WorkspacePath::parse(text).map_err(|error| Problem::invalid(&[(field, error.to_string())]))
}

#[cfg(test)]
pub(crate) mod tests;
