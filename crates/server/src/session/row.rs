//! Sessions in SQL. Text becomes enums here.

use protocol::session::{EndReason, EndStage, SessionStatus, StartStep};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter};
use time::OffsetDateTime;

use super::lifecycle::{Found, Lifecycle};
use crate::db::entity::session::{Column, Entity, Model};
use crate::ids::SessionId;

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

/// Writes the row; false if there is none that has not ended. An ended session gives up its slot.
pub(super) async fn store(db: &DatabaseConnection, session: SessionId, columns: &Columns) -> Result<bool, DbErr> {
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
    let result = update.filter(Column::Id.eq(session.0)).filter(Column::EndedAt.is_null()).exec(db).await?;
    Ok(result.rows_affected > 0)
}

/// Rows that have not ended.
pub(super) async fn active(db: &DatabaseConnection) -> Result<Vec<Model>, DbErr> {
    Entity::find().filter(Column::EndedAt.is_null()).all(db).await
}
