//! What is done for workspaces beside requests: measuring while sessions run, stopping writes where the kernel does not
//! keep the quota, removing what was kept long enough.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use protocol::session::SessionStatus;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use time::OffsetDateTime;

use super::error::FileError;
use super::{Workspace, Workspaces, trash, upload};
use crate::db::entity::session;
use crate::driver::QuotaMechanism;
use crate::ids::{SessionId, UserId};

/// How often the workspaces of running sessions are measured.
const MEASURE_INTERVAL: Duration = Duration::from_secs(30);
/// How often a user's old files are looked for.
const TIDY_INTERVAL: time::Duration = time::Duration::hours(24);

/// What the agents were told last.
#[derive(Default)]
pub(super) struct Told(HashMap<SessionId, bool>);

impl Workspaces {
    /// Runs until dropped.
    pub async fn upkeep(&self) {
        let mut told = Told::default();
        let mut interval = tokio::time::interval(MEASURE_INTERVAL);
        // After a suspended machine once is enough.
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.upkeep_once(&mut told).await;
        }
    }

    pub(super) async fn upkeep_once(&self, told: &mut Told) {
        match self.running().await {
            Ok(running) => {
                told.0.retain(|session, _| running.iter().any(|(id, _)| id == session));
                for (session, user) in running {
                    if let Err(error) = self.watch(session, user, told).await {
                        tracing::warn!(%session, %error, "a workspace can't be measured");
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

    async fn running(&self) -> Result<Vec<(SessionId, UserId)>, FileError> {
        let live = [SessionStatus::Starting.as_str(), SessionStatus::Running.as_str()];
        let rows = session::Entity::find().filter(session::Column::Status.is_in(live)).all(&self.0.db).await?;
        Ok(rows.into_iter().map(|row| (SessionId(row.id), UserId(row.user_id))).collect())
    }

    async fn watch(&self, session: SessionId, user: UserId, told: &mut Told) -> Result<(), FileError> {
        let quota = self.open(user).await?.measure().await?;
        let allowed = !quota.exceeded;
        // Every agent is told once by each run of the server: an earlier one may have stopped writes.
        if quota.mechanism != QuotaMechanism::Watcher || told.0.get(&session) == Some(&allowed) {
            return Ok(());
        }
        match self.0.driver.agent(session).allow_writes(allowed).await {
            Ok(()) => drop(told.0.insert(session, allowed)),
            // Still starting, or ending: the next round tries again.
            Err(error) => tracing::debug!(%session, %error, "the agent was not told about the quota"),
        }
        Ok(())
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
    use sea_orm::sea_query::Expr;
    use serde_json::json;
    use time::Duration;

    use super::*;
    use crate::api::files::tests::Fixture;
    use crate::db::entity::storage_quota;
    use crate::session::testing::{end_of, fake, started};

    async fn set_quota(fixture: &Fixture, gib: i32) {
        storage_quota::Entity::update_many()
            .col_expr(storage_quota::Column::StorageGb, Expr::value(gib))
            .filter(storage_quota::Column::UserId.eq(fixture.user.user.unwrap().0))
            .exec(&fixture.app.app.db)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_running_session_hears_when_its_quota_is_exceeded_and_when_no_more() {
        let mut fixture = Fixture::new().await;
        let workspaces = fixture.app.app.workspaces.clone();
        let mut told = Told::default();
        let (id, session) = started(&fixture.app, &mut fixture.user).await;
        let agent = fake(&fixture.app).session(session).unwrap();
        workspaces.upkeep_once(&mut told).await;
        assert!(agent.writes_allowed());
        set_quota(&fixture, 0).await;
        for _ in 0..2 {
            workspaces.upkeep_once(&mut told).await;
            assert!(!agent.writes_allowed());
        }
        set_quota(&fixture, 1).await;
        workspaces.upkeep_once(&mut told).await;
        assert!(agent.writes_allowed());
        assert_eq!(told.0.len(), 1);
        fixture.user.delete(&format!("/api/v1/sessions/{id}")).await.expect(202);
        end_of(&fixture.app, &mut fixture.user, &id).await;
        workspaces.upkeep_once(&mut told).await;
        assert!(told.0.is_empty());
    }

    #[tokio::test]
    async fn an_agent_that_can_not_be_told_is_told_later() {
        let mut fixture = Fixture::new().await;
        let (_, session) = started(&fixture.app, &mut fixture.user).await;
        set_quota(&fixture, 0).await;
        fake(&fixture.app).session(session).unwrap().kill_agent();
        let mut told = Told::default();
        fixture.app.app.workspaces.upkeep_once(&mut told).await;
        assert!(told.0.is_empty());
    }

    #[tokio::test]
    async fn what_a_session_writes_is_measured_while_it_runs() {
        let mut fixture = Fixture::new().await;
        started(&fixture.app, &mut fixture.user).await;
        let workspaces = fixture.app.app.workspaces.clone();
        let mut told = Told::default();
        workspaces.upkeep_once(&mut told).await;
        let mut changes = workspaces.quota_changes();
        std::fs::write(fixture.home.join("painted.xcf"), vec![1; 1 << 20]).unwrap();
        workspaces.upkeep_once(&mut told).await;
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
            workspaces.upkeep_once(&mut Told::default()).await;
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
