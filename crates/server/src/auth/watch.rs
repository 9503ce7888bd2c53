//! Notices that somebody was signed out while a long answer to them goes on: an event stream, a picture.

use std::time::Duration;

use sea_orm::{DbErr, EntityTrait};

use super::current::{CurrentUser, Role};
use crate::db::entity;
use crate::state::App;

/// How long it may take.
const INTERVAL: Duration = Duration::from_secs(15);

/// Returns once the user's sign-in is revoked, their account switched off or their role taken. Looks at SQL every 15 s,
/// so that it does not matter which server did it.
pub async fn rights_lost(app: &App, user: &CurrentUser) {
    loop {
        let next = app.clock.now() + INTERVAL;
        app.clock.sleep_until(next).await;
        match has_rights(app, user).await {
            Ok(true) => {}
            Ok(false) => return,
            // Whoever was let in stays in while the database is away.
            Err(error) => tracing::warn!(%error, "whether a user is still signed in can't be told"),
        }
    }
}

async fn has_rights(app: &App, user: &CurrentUser) -> Result<bool, DbErr> {
    let sign_in = entity::sign_in::Entity::find_by_id(user.sign_in.0).one(&app.db).await?;
    if sign_in.is_none_or(|sign_in| sign_in.revoked_at.is_some()) {
        return Ok(false);
    }
    let account = entity::user::Entity::find_by_id(user.id.0).one(&app.db).await?;
    Ok(account.is_some_and(|account| account.is_active && Role::from_sql(&account.role) == user.role))
}
