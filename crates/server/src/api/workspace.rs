//! `/workspace`: room and recoveries.

mod quota;
mod recoveries;
mod recovery_content;
mod recovery_delete;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::Problem;
use crate::state::App;
use crate::workspace::error::FileError;
use crate::workspace::recovery::RecoveryId;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(quota::workspace_quota))
        .routes(routes!(recoveries::recoveries_list))
        .routes(routes!(recovery_delete::recovery_delete))
        .routes(routes!(recovery_content::recovery_content))
}

/// An id from a request.
fn parse_id(text: &str) -> Result<RecoveryId, Problem> {
    RecoveryId::parse(text).ok_or_else(|| FileError::NoRecovery.into())
}

#[cfg(test)]
mod tests;
