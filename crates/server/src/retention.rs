//! Removes what has been kept long enough: access log, audit trail, what accounts need no more.

use std::time::Duration;

use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter};
use time::Duration as Span;

use crate::db::entity::{access_entry, audit_entry};
use crate::state::App;

const EVERY: Duration = Duration::from_secs(3600);
/// See `Replicas::begin_chore`.
const CHORE: &str = "retention";

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

/// Removes rows past their time; returns how many. Nothing where another server does it.
///
/// # Errors
/// When the database fails. Safe to repeat.
pub async fn prune(app: &App) -> Result<u64, DbErr> {
    app.auth.limits.prune();
    let now = app.clock.now();
    let before = |days: u32| now - Span::days(days.into());
    let Some(tx) = app.replicas.begin_chore(&app.db, CHORE).await? else { return Ok(0) };
    let access = access_entry::Entity::delete_many()
        .filter(access_entry::Column::At.lt(before(app.settings.access_log_days)))
        .exec(&tx)
        .await?;
    let audit = audit_entry::Entity::delete_many()
        .filter(audit_entry::Column::At.lt(before(app.settings.audit_days)))
        .exec(&tx)
        .await?;
    let accounts = crate::auth::prune::prune(&tx, now).await?;
    tx.commit().await?;
    Ok(access.rows_affected + audit.rows_affected + accounts)
}
