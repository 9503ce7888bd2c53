//! Sessions of users who were deactivated end.

use protocol::session::EndReason;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use super::{CommandError, Sessions};
use crate::db::entity::{session, user};
use crate::ids::SessionId;

impl Sessions {
    /// Begins the end of every session whose user may not sign in any more. Called when a user is deactivated, and by
    /// reconcile: for those that were begun at the same moment, and for a server that died in between.
    ///
    /// # Errors
    /// Of the database. A session that can't be told to end now is left to the next call.
    pub async fn end_deactivated(&self) -> Result<(), CommandError> {
        let sessions = session::Entity::find()
            .find_also_related(user::Entity)
            .filter(session::Column::EndedAt.is_null())
            .filter(user::Column::IsActive.eq(false))
            .all(&self.0.context.db)
            .await?;
        for (session, _) in sessions {
            let session = SessionId(session.id);
            if let Err(error) = self.end(session, EndReason::Admin).await {
                tracing::warn!(%session, %error, "the session of a deactivated user could not be told to end");
            }
        }
        Ok(())
    }
}
