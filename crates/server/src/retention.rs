//! Removes what has been kept long enough: access log, audit trail, what accounts need no more.

use std::time::Duration;

use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter};
use time::Duration as Span;

use crate::db::entity::{access_entry, audit_entry};
use crate::state::App;

const EVERY: Duration = Duration::from_secs(3600);

/// Prunes now and every hour.
pub async fn run(app: App) {
    let mut timer = tokio::time::interval(EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        match prune(&app).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "old rows removed"),
            Err(error) => tracing::warn!(%error, "old rows could not be removed"),
        }
    }
}

/// Removes rows past their time; returns how many.
///
/// # Errors
/// When the database fails. Safe to repeat.
pub async fn prune(app: &App) -> Result<u64, DbErr> {
    let before = |days: u32| app.clock.now() - Span::days(days.into());
    let access = access_entry::Entity::delete_many()
        .filter(access_entry::Column::At.lt(before(app.settings.access_log_days)))
        .exec(&app.db)
        .await?;
    let audit = audit_entry::Entity::delete_many()
        .filter(audit_entry::Column::At.lt(before(app.settings.audit_days)))
        .exec(&app.db)
        .await?;
    Ok(access.rows_affected + audit.rows_affected + crate::auth::prune::prune(app).await?)
}
