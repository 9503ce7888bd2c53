//! Table `sessions`.

use sea_orm::entity::prelude::*;
use time::OffsetDateTime;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "sessions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub user_id: Uuid,
    pub application: String,
    pub status: String,
    pub step: Option<String>,
    pub stage: Option<String>,
    pub pod_name: Option<String>,
    pub endpoint_url: Option<String>,
    pub created_at: OffsetDateTime,
    pub started_at: Option<OffsetDateTime>,
    pub ended_at: Option<OffsetDateTime>,
    pub expires_at: Option<OffsetDateTime>,
    pub cpu_request: String,
    pub memory_request: String,
    pub end_reason: Option<String>,
    pub end_detail: Option<String>,
    pub slot: Option<i32>,
    pub screen_width: i32,
    pub screen_height: i32,
    pub screen_scale: f32,
    pub keeper: Option<Uuid>,
    pub keeper_term: Option<i64>,
    pub term: i64,
    pub end_asked: Option<String>,
    pub keep_asked_at: Option<OffsetDateTime>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::user::Entity", from = "Column::UserId", to = "super::user::Column::Id")]
    User,
}

impl Related<super::user::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::User.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
