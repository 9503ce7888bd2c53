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
        // Writes are allowed until an agent hears otherwise.
        if quota.mechanism != QuotaMechanism::Watcher || told.0.get(&session).copied().unwrap_or(true) == allowed {
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
