//! What is done for workspaces beside requests: measuring while sessions run, removing what was kept long enough. Stopping
//! a session that exceeds its quota is the driver's.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::time::Duration;

use protocol::session::SessionStatus;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use time::OffsetDateTime;

use super::error::FileError;
use super::{Workspace, Workspaces, trash, upload};
use crate::db::entity::session;
use crate::ids::UserId;

/// How often the workspaces of running sessions are measured.
const MEASURE_INTERVAL: Duration = Duration::from_secs(30);
/// How often a user's old files are looked for.
const TIDY_INTERVAL: time::Duration = time::Duration::hours(24);

impl Workspaces {
    /// Runs until dropped, where there is anything to do.
    pub async fn upkeep(&self) {
        if !self.0.driver.has_workspaces() {
            return;
        }
        let mut interval = tokio::time::interval(MEASURE_INTERVAL);
        // After a suspended machine once is enough.
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.upkeep_once().await;
        }
    }

    pub(crate) async fn upkeep_once(&self) {
        match self.with_sessions().await {
            Ok(users) => {
                for user in users {
                    if let Err(error) = self.measure(user).await {
                        tracing::warn!(%user, %error, "a workspace can't be measured");
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "running sessions can't be listed"),
        }
        let users: Vec<UserId> = self.0.users.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        for user in users {
            if let Err(error) = self.tidy(user).await {
                tracing::warn!(%user, %error, "a workspace can't be tidied");
            }
        }
    }

    async fn with_sessions(&self) -> Result<HashSet<UserId>, FileError> {
        let live = [SessionStatus::Starting.as_str(), SessionStatus::Running.as_str()];
        let rows = session::Entity::find().filter(session::Column::Status.is_in(live)).all(&self.0.db).await?;
        Ok(rows.into_iter().map(|row| UserId(row.user_id)).collect())
    }

    async fn measure(&self, user: UserId) -> Result<(), FileError> {
        let workspace = self.open(user).await?;
        workspace.measure().await?;
        workspace.history_keep_reserve().await
    }

    /// Removes what was kept long enough, at most once a day. Users who did not come since the server started are left
    /// alone: opening their workspaces would mount them.
    async fn tidy(&self, user: UserId) -> Result<(), FileError> {
        let now = self.0.clock.now();
        {
            let shared = self.shared(user);
            let mut tidied = shared.tidied.lock().unwrap_or_else(PoisonError::into_inner);
            if tidied.is_some_and(|at: OffsetDateTime| now - at < TIDY_INTERVAL) {
                return Ok(());
            }
            *tidied = Some(now);
        }
        let workspace = self.open(user).await?;
        workspace.trash_purge(Some(now - trash::KEPT)).await?;
        workspace.history_tidy(now).await?;
        workspace.upload_purge(now - upload::KEPT).await
    }
}

impl Workspace {
    /// Makes the next round of upkeep look after this workspace.
    pub(super) fn tidy_soon(&self) {
        *self.shared.tidied.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::Duration;

    use super::*;
    use crate::api::files::tests::Fixture;
    use crate::db::entity::storage_quota;
    use crate::session::testing::started;

    #[tokio::test]
    async fn what_a_session_writes_is_measured_while_it_runs() {
        let mut fixture = Fixture::new().await;
        started(&fixture.app, &mut fixture.user).await;
        let workspaces = fixture.app.app.workspaces.clone();
        workspaces.upkeep_once().await;
        let mut changes = workspaces.quota_changes();
        std::fs::write(fixture.home.join("painted.xcf"), vec![1; 1 << 20]).unwrap();
        workspaces.upkeep_once().await;
        let (user, quota) = changes.recv().await.unwrap();
        assert_eq!(Some(user), fixture.user.user);
        assert!(quota.used_bytes >= 1 << 20, "{quota:?}");
    }

    #[tokio::test]
    async fn the_trash_is_kept_for_thirty_days_and_uploads_for_seven() {
        let mut fixture = Fixture::new().await;
        let workspaces = fixture.app.app.workspaces.clone();
        fixture.upload("a", b"a").await;
        fixture.trash("a").await.expect(204);
        let id = fixture.begun("b", 2).await;
        fixture.part(&id, 0, "b").await.expect(204);
        let uploads = fixture.home.join(".gimp-platform/uploads");
        // Not one of ours: left alone.
        std::fs::write(uploads.join("foreign"), b"").unwrap();
        let mut after = async |days: i64, trashed: usize, uploading: usize| {
            fixture.app.clock.advance(Duration::days(days));
            workspaces.upkeep_once().await;
            let trash = fixture.user.get("/api/v1/files/trash").await.expect(200);
            assert_eq!(trash["entries"].as_array().unwrap().len(), trashed);
            assert_eq!(std::fs::read_dir(&uploads).unwrap().count(), uploading + 1);
        };
        after(0, 1, 2).await;
        after(6, 1, 2).await;
        after(2, 1, 0).await;
        after(21, 1, 0).await;
        after(2, 0, 0).await;
        let row = storage_quota::Entity::find().one(&fixture.app.app.db).await.unwrap().unwrap();
        assert!(row.used_bytes < 1 << 20);
        assert_eq!(fixture.user.get("/api/v1/files").await.expect(200)["entries"], json!([]));
    }
}
