//! The audit trail: what happened to accounts and their sessions, by whom and from where. No secrets.

use std::borrow::Cow;

use sea_orm::{ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait};
use time::OffsetDateTime;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use super::client::Client;
use crate::db::entity::{audit_entry, user};
use crate::ids::UserId;

macro_rules! kinds {
    ($($(#[$meta:meta])* $variant:ident = $text:literal),+ $(,)?) => {
        /// What happened, in the words of the REST API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $($(#[$meta])* $variant),+ }

        impl Kind {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

kinds! {
    Registered = "account.registered",
    /// By an administrator at the command line.
    Added = "account.added",
    ProfileChanged = "account.profileChanged",
    EmailChanged = "account.emailChanged",
    RoleChanged = "account.roleChanged",
    Deactivated = "account.deactivated",
    Activated = "account.activated",
    QuotaChanged = "account.quotaChanged",
    PasswordChanged = "password.changed",
    ResetRequested = "password.resetRequested",
    /// A link made by an administrator.
    ResetLinkMade = "password.resetLinkMade",
    PasswordReset = "password.reset",
    SignedIn = "signIn.ok",
    SignInFailed = "signIn.failed",
    /// The failure that began a pause.
    SignInLocked = "signIn.locked",
    SignInRevoked = "signIn.revoked",
    SignedOut = "signIn.signedOut",
    SignedOutEverywhere = "signIn.signedOutEverywhere",
    /// A refresh token came back after it had been exchanged: somebody copied it.
    RefreshReused = "signIn.refreshReused",
    InviteMade = "invite.made",
    InviteUsed = "invite.used",
    /// By an administrator; of somebody else.
    SessionEnded = "session.ended",
}

// Not derived: utoipa does not see the texts through the macro.
impl ToSchema for Kind {
    fn name() -> Cow<'static, str> {
        "AuditKind".into()
    }
}

impl PartialSchema for Kind {
    fn schema() -> RefOr<Schema> {
        let kinds = Self::ALL.iter().map(|kind| kind.as_str());
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(kinds)).into()
    }
}

/// Whom an entry is about.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    pub user: Option<Uuid>,
    pub email: Option<String>,
}

impl From<&user::Model> for Subject {
    fn from(user: &user::Model) -> Self {
        Self { user: Some(user.id), email: Some(user.email.clone()) }
    }
}

impl From<UserId> for Subject {
    fn from(user: UserId) -> Self {
        Self { user: Some(user.0), email: None }
    }
}

/// Adds an entry; inside a transaction it stands or falls with the change it tells of.
///
/// # Errors
/// Of the database.
pub async fn record(
    db: &impl ConnectionTrait,
    now: OffsetDateTime,
    kind: Kind,
    subject: impl Into<Subject>,
    client: &Client,
    detail: Option<String>,
) -> Result<(), DbErr> {
    let subject = subject.into();
    tracing::info!(kind = kind.as_str(), user = ?subject.user, address = %client.address, "audit");
    metrics::counter!("gimp_platform_account_events_total", "kind" => kind.as_str()).increment(1);
    let row = audit_entry::ActiveModel {
        id: Set(Uuid::now_v7()),
        at: Set(now),
        kind: Set(kind.as_str().to_owned()),
        user_id: Set(subject.user),
        email: Set(subject.email),
        address: Set(Some(client.address.to_string())),
        detail: Set(detail.map(|detail| detail.chars().take(500).collect())),
    };
    audit_entry::Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}
