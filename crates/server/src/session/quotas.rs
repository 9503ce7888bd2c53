//! Passes on to browsers how full workspaces are.

use std::collections::HashSet;
use std::sync::Arc;

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use time::OffsetDateTime;
use tokio::sync::broadcast::error::RecvError;

use super::Context;
use super::lifecycle::{Notice, NoticeKind};
use super::watchers::Event;
use crate::db::entity::session::{Column, Entity};
use crate::ids::{SessionId, UserId};

/// Until the application ends: each change, and a notice to those whose GIMP can't save any more.
pub(super) async fn forward(context: Arc<Context>) {
    let mut changes = context.workspaces.quota_changes();
    let mut full = HashSet::new();
    loop {
        match changes.recv().await {
            Ok((user, quota)) => {
                context.watchers.tell(user, Event::Quota(quota));
                if !quota.exceeded {
                    full.remove(&user);
                } else if full.insert(user) {
                    notify(&context, user, context.clock.now()).await;
                }
            }
            // The next change of the same user says it again.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

async fn notify(context: &Context, user: UserId, at: OffsetDateTime) {
    let sessions = Entity::find().filter(Column::UserId.eq(user.0)).filter(Column::EndedAt.is_null());
    match sessions.all(&context.db).await {
        Ok(sessions) => {
            for session in sessions {
                let detail = "Your workspace is full: nothing more can be saved. Delete files or empty the trash.";
                let notice = Notice { kind: NoticeKind::OverQuota, detail: detail.to_owned(), at };
                context.watchers.tell(user, Event::Notice(SessionId(session.id), notice));
            }
        }
        Err(error) => tracing::warn!(%user, %error, "a user could not be told that their workspace is full"),
    }
}
