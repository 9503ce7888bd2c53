//! Beginning a session: one step for the slot of the user, the room on the machine and the row.

use std::sync::atomic::Ordering;
use std::time::Duration;

use protocol::session::{ScreenSize, SessionStatus, StartStep};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnAcquireErr, ConnectionTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter,
    SqlErr,
};

use super::Sessions;
use super::lifecycle::Lifecycle;
use super::resources::Resources;
use crate::auth::rate_limit::Limited;
use crate::db::entity::session::{ActiveModel, Column, Entity, Model};
use crate::db::transaction;
use crate::ids::{SessionId, UserId};
use crate::replicas::Message;

/// How often another server may be quicker with a slot before something else must be wrong.
const RACES: u32 = 8;
/// How long it may take until SQL has the row. Longer than the database lets anybody wait for a lock.
const LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NewSession {
    pub user: UserId,
    pub resources: Resources,
    pub screen: ScreenSize,
}

#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The user runs as many as they may; this is the newest.
    #[error("the user has a running session")]
    Exists(SessionId),
    /// As many run as the machine can hold.
    #[error("the machine is full")]
    MachineFull { limit: u16 },
    #[error("too many sessions in a short time")]
    TooOften(Limited),
    #[error("the server is ending")]
    Closing,
    /// This server may not look after sessions at the moment.
    #[error("the database did not take that this server lives")]
    Unkept,
    #[error("database: {0}")]
    Db(#[from] DbErr),
}

impl Sessions {
    /// Begins a session. Returns its row as soon as SQL has it; the start goes on.
    ///
    /// # Errors
    /// See `CreateError`.
    pub async fn create(&self, new: NewSession) -> Result<Model, CreateError> {
        self.0.creations.check(new.user).map_err(CreateError::TooOften)?;
        // Those before it may wait for a database that does not answer.
        let creating = tokio::time::timeout(LIMIT, self.create_in_turn(new)).await;
        creating.unwrap_or(Err(CreateError::Db(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))))
    }

    async fn create_in_turn(&self, new: NewSession) -> Result<Model, CreateError> {
        let context = &self.0.context;
        let _one_at_a_time = self.0.creating.acquire().await.map_err(|_| CreateError::Closing)?;
        let mut races = 0;
        loop {
            if self.0.closing.load(Ordering::Relaxed) {
                return Err(CreateError::Closing);
            }
            let leaving = self.0.leaving.is_cancelled();
            let tenure = context.replicas.tenure();
            let ours = !leaving && tenure.holds();
            // Another server begins it then.
            if !ours && !context.replicas.others().await.unwrap_or(false) {
                return Err(if leaving { CreateError::Closing } else { CreateError::Unkept });
            }
            let fence = tenure.fence().filter(|_| ours);
            // Counting and inserting are one step, over all servers.
            let tx = transaction::begin_sessions(&context.db).await?;
            let slot = self.free_slot(&tx, new.user).await?;
            let limit = self.limit();
            if Entity::find().filter(Column::EndedAt.is_null()).count(&tx).await? >= u64::from(limit) {
                return Err(CreateError::MachineFull { limit });
            }
            let (life, effects) = Lifecycle::begin(context.rules, context.clock.now());
            let row = Model {
                id: SessionId::new().0,
                user_id: new.user.0,
                application: "gimp".to_owned(),
                status: SessionStatus::Starting.as_str().to_owned(),
                step: Some(StartStep::CreatingWorkspace.as_str().to_owned()),
                stage: None,
                pod_name: None,
                endpoint_url: None,
                created_at: life.created_at(),
                started_at: None,
                ended_at: None,
                expires_at: Some(life.expires_at()),
                cpu_request: new.resources.cpu.to_string(),
                memory_request: new.resources.memory.to_string(),
                end_reason: None,
                end_detail: None,
                slot: Some(slot),
                screen_width: i32::from(new.screen.width),
                screen_height: i32::from(new.screen.height),
                screen_scale: new.screen.scale,
                keeper: fence.map(|(server, _)| server),
                keeper_term: fence.map(|(_, term)| term),
                term: 1,
                end_asked: None,
                keep_asked_at: None,
            };
            let insert = Entity::insert(ActiveModel::from(row.clone()).reset_all()).exec_without_returning(&tx).await;
            match insert {
                Ok(_) => {
                    // Where it is not known whether that was done, reconcile finds the row, if there is one.
                    tx.commit().await?;
                    tracing::info!(session = %row.id, user = %new.user, "session created");
                    if ours {
                        self.keep(row.clone(), tenure, life, effects);
                    } else if let Err(error) = context.replicas.tell(&context.db, &Message::Left).await {
                        tracing::debug!(%error, "the others see in a second that a session has no keeper");
                    }
                    return Ok(row);
                }
                // A server of the version before was quicker with this slot: look again.
                Err(error)
                    if races < RACES && matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) =>
                {
                    races += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn free_slot(&self, db: &impl ConnectionTrait, user: UserId) -> Result<i32, CreateError> {
        let rows = Entity::find().filter(Column::UserId.eq(user.0)).filter(Column::EndedAt.is_null()).all(db).await?;
        let slots = 0..i32::from(self.0.context.settings.sessions_per_user);
        let free = slots.into_iter().find(|slot| rows.iter().all(|row| row.slot != Some(*slot)));
        let newest = rows.iter().map(|row| row.id).max();
        match (free, newest) {
            (Some(slot), _) => Ok(slot),
            (None, Some(newest)) => Err(CreateError::Exists(SessionId(newest))),
            // No session may run at all.
            (None, None) => Err(CreateError::MachineFull { limit: 0 }),
        }
    }
}
