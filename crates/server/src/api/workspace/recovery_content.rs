//! `GET /workspace/recoveries/{id}/content`

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::parse_id;
use crate::api::extract::Path;
use crate::api::files::attachment::send;
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;

/// The copy as an XCF file.
#[utoipa::path(
    get,
    path = "/recoveries/{id}/content",
    tag = "workspace",
    params(("id" = String, Path)),
    responses((status = 200, content_type = "image/x-xcf", body = Vec<u8>), (status = 206, description = "A range of it."))
)]
pub async fn recovery_content(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let content = app.workspaces.open(user.id).await?.recovery_content(parse_id(&id)?).await?;
    send(content, &headers).await
}
