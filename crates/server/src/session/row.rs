//! Sessions in SQL. Text becomes enums here.

use protocol::session::{EndReason, EndStage, SessionStatus, StartStep};
use sea_orm::sea_query::{Condition, Expr, ExprTrait};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseBackend, DatabaseConnection, DbErr, EntityTrait, FromQueryResult,
    QueryFilter, Statement, Value,
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::lifecycle::{Found, Lifecycle};
use crate::db::entity::session::{Column, Entity, Model};
use crate::ids::SessionId;
use crate::replicas::{Tenure, alive};

/// Sessions taken at once, so that several servers share those of a dead one.
const TAKEN_AT_ONCE: u64 = 50;

/// Characters `end_detail` holds.
const MAX_DETAIL: usize = 500;

/// What a keeper writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns {
    pub status: SessionStatus,
    pub step: StartStep,
    pub stage: Option<EndStage>,
    pub started_at: Option<OffsetDateTime>,
    pub ended_at: Option<OffsetDateTime>,
    pub expires_at: OffsetDateTime,
    pub end: Option<(EndReason, String)>,
}

impl Columns {
    pub fn of(life: &Lifecycle) -> Self {
        Self {
            status: life.status(),
            step: life.step(),
            stage: life.stage(),
            started_at: life.started_at(),
            ended_at: life.ended_at(),
            expires_at: life.expires_at(),
            end: life.end().map(|end| (end.reason, end.detail.chars().take(MAX_DETAIL).collect())),
        }
    }
}

/// A row that has not ended, as the lifecycle takes it up. A word this version does not know counts as not there.
pub(super) fn found(row: &Model) -> Found {
    let reason = row.end_reason.as_deref().and_then(|text| text.parse().ok());
    Found {
        step: row.step.as_deref().and_then(|text| text.parse().ok()).unwrap_or(StartStep::CreatingWorkspace),
        stage: row.stage.as_deref().and_then(|text| text.parse().ok()),
        created_at: row.created_at,
        started_at: row.started_at,
        expires_at: row.expires_at.unwrap_or(row.created_at),
        end: reason.map(|reason| (reason, row.end_detail.clone())),
    }
}

/// The right to write one session's row.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub tenure: Tenure,
    /// The session's own, see the column.
    pub term: i64,
}

impl Lease {
    /// What the database checks with each write.
    fn holds(&self) -> Condition {
        let fence = Condition::all().add(Column::Term.eq(self.term));
        match self.tenure.fence() {
            None => fence,
            Some((server, term)) => fence
                .add(Column::Keeper.eq(server))
                .add(Column::KeeperTerm.eq(term))
                .add(Expr::cust(alive(&format!("'{server}'"), &term.to_string()))),
        }
    }
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    Yes,
    /// There is no such row that has not ended.
    Gone,
    /// Another server looks after the session, or may.
    NotOurs,
}

/// Writes the row. An ended session gives up its slot.
pub(super) async fn store(
    db: &impl ConnectionTrait,
    session: SessionId,
    lease: &Lease,
    columns: &Columns,
) -> Result<Stored, DbErr> {
    let (reason, detail) = match &columns.end {
        Some((reason, detail)) => (Some(reason.as_str()), Some(detail.as_str())),
        None => (None, None),
    };
    let mut update = Entity::update_many()
        .col_expr(Column::Status, Expr::value(columns.status.as_str()))
        .col_expr(Column::Step, Expr::value(columns.step.as_str()))
        .col_expr(Column::Stage, Expr::value(columns.stage.map(EndStage::as_str)))
        .col_expr(Column::StartedAt, Expr::value(columns.started_at))
        .col_expr(Column::EndedAt, Expr::value(columns.ended_at))
        .col_expr(Column::ExpiresAt, Expr::value(columns.expires_at))
        .col_expr(Column::EndReason, Expr::value(reason))
        .col_expr(Column::EndDetail, Expr::value(detail));
    if columns.ended_at.is_some() {
        update = update.col_expr(Column::Slot, Expr::value(None::<i32>));
    }
    let running = Column::Id.eq(session.0).and(Column::EndedAt.is_null());
    let result = update.filter(running).filter(lease.holds()).exec(db).await?;
    if result.rows_affected > 0 {
        return Ok(Stored::Yes);
    }
    let row = Entity::find_by_id(session.0).one(db).await?;
    Ok(if row.is_some_and(|row| row.ended_at.is_none()) { Stored::NotOurs } else { Stored::Gone })
}

/// Rows that have not ended.
pub(super) async fn active(db: &DatabaseConnection) -> Result<Vec<Model>, DbErr> {
    Entity::find().filter(Column::EndedAt.is_null()).all(db).await
}

/// Gives the session up, so that another server takes it.
pub(super) async fn release(db: &DatabaseConnection, session: SessionId, lease: &Lease) -> Result<(), DbErr> {
    let released = Entity::update_many()
        .col_expr(Column::Keeper, Expr::value(None::<Uuid>))
        .col_expr(Column::KeeperTerm, Expr::value(None::<i64>))
        .filter(Column::Id.eq(session.0))
        .filter(lease.holds());
    released.exec(db).await.map(drop)
}

/// Takes sessions that no living server looks after, at most so many at once: all, or one; `except`: none of these.
/// PostgreSQL only.
pub(super) async fn take(
    db: &DatabaseConnection,
    tenure: &Tenure,
    only: Option<SessionId>,
    except: &[SessionId],
) -> Result<Vec<Model>, DbErr> {
    let Some((server, term)) = tenure.fence() else { return Ok(vec![]) };
    let mut values = vec![Value::from(server), term.into()];
    let mut which = String::new();
    if let Some(session) = only {
        values.push(session.0.into());
        which.push_str("s.id = $3 AND ");
    }
    for session in except {
        values.push(session.0.into());
        which.push_str(&format!("s.id <> ${} AND ", values.len()));
    }
    // What another server is about to take is left to it.
    let sql = format!(
        "UPDATE sessions SET keeper = $1, keeper_term = $2, term = term + 1 WHERE {mine} AND id IN (\
           SELECT s.id FROM sessions s WHERE {which}s.ended_at IS NULL AND NOT {kept} \
           LIMIT {TAKEN_AT_ONCE} FOR UPDATE SKIP LOCKED) RETURNING *",
        mine = alive("$1", "$2"),
        kept = alive("s.keeper", "s.keeper_term"),
    );
    Model::find_by_statement(Statement::from_sql_and_values(DatabaseBackend::Postgres, sql, values)).all(db).await
}

/// Rows that this server looks after, as far as the database knows.
pub(super) async fn kept(db: &DatabaseConnection, tenure: &Tenure) -> Result<Vec<Model>, DbErr> {
    if !tenure.holds() {
        return Ok(vec![]);
    }
    let Some((server, term)) = tenure.fence() else { return active(db).await };
    let ours = Column::Keeper.eq(server).and(Column::KeeperTerm.eq(term));
    Entity::find().filter(Column::EndedAt.is_null()).filter(ours).all(db).await
}

/// Asks the session's keeper, wherever it is, to end it. The first reason counts. False: it ends or has ended.
pub(super) async fn ask_end(db: &DatabaseConnection, session: SessionId, reason: EndReason) -> Result<bool, DbErr> {
    let asked = Entity::update_many()
        .col_expr(Column::EndAsked, Expr::col(Column::EndAsked).if_null(reason.as_str()))
        .filter(Column::Id.eq(session.0).and(Column::EndedAt.is_null()).and(Column::EndReason.is_null()));
    Ok(asked.exec(db).await?.rows_affected > 0)
}

/// Asks the session's keeper, wherever it is, to keep it longer.
pub(super) async fn ask_keep(db: &DatabaseConnection, session: SessionId, at: OffsetDateTime) -> Result<(), DbErr> {
    let asked = Entity::update_many()
        .col_expr(Column::KeepAskedAt, Expr::value(at))
        .filter(Column::Id.eq(session.0).and(Column::EndedAt.is_null()));
    asked.exec(db).await.map(drop)
}

/// What was asked is done. What was asked since stays.
pub(super) async fn answered(db: &DatabaseConnection, lease: &Lease, row: &Model) -> Result<(), DbErr> {
    let mut done = Entity::update_many();
    let mut same = Condition::all().add(Column::Id.eq(row.id)).add(lease.holds());
    // The first reason stays: it is the one that was seen.
    if row.end_asked.is_some() {
        done = done.col_expr(Column::EndAsked, Expr::value(None::<String>));
    }
    if let Some(at) = row.keep_asked_at {
        done = done.col_expr(Column::KeepAskedAt, Expr::value(None::<OffsetDateTime>));
        same = same.add(Column::KeepAskedAt.eq(at));
    }
    done.filter(same).exec(db).await.map(drop)
}

/// Shows other servers what the keeper knows beyond the row. False: the session is not ours. PostgreSQL only.
pub(super) async fn show(
    db: &DatabaseConnection,
    session: SessionId,
    lease: &Lease,
    body: String,
) -> Result<bool, DbErr> {
    let Some((server, term)) = lease.tenure.fence() else { return Ok(true) };
    let shown = Statement::from_sql_and_values(
        DatabaseBackend::Postgres,
        format!(
            "INSERT INTO session_reports (session_id, body) SELECT id, $2 FROM sessions \
             WHERE id = $1 AND ended_at IS NULL AND term = $3 AND keeper = $4 AND keeper_term = $5 AND {mine} FOR SHARE \
             ON CONFLICT (session_id) DO UPDATE SET body = excluded.body",
            mine = alive("$4", "$5"),
        ),
        [Value::from(session.0), body.into(), lease.term.into(), server.into(), term.into()],
    );
    Ok(db.execute_raw(shown).await?.rows_affected() > 0)
}

/// What keepers show of these sessions.
pub(super) async fn shown(
    db: &DatabaseConnection,
    sessions: impl IntoIterator<Item = Uuid>,
) -> Result<std::collections::HashMap<Uuid, String>, DbErr> {
    use crate::db::entity::session_report;
    let sessions: Vec<Uuid> = sessions.into_iter().collect();
    let rows = session_report::Entity::find().filter(session_report::Column::SessionId.is_in(sessions)).all(db).await?;
    Ok(rows.into_iter().map(|row| (row.session_id, row.body)).collect())
}
