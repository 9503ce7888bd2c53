//! Table `tokens`.

use sea_orm::entity::prelude::*;
use time::OffsetDateTime;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "tokens")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub hash: String,
    pub sign_in_id: Uuid,
    pub kind: String,
    pub expires_at: OffsetDateTime,
    pub used_at: Option<OffsetDateTime>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::sign_in::Entity", from = "Column::SignInId", to = "super::sign_in::Column::Id")]
    SignIn,
}

impl Related<super::sign_in::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::SignIn.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
