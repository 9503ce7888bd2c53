//! Files of users: the only door to a workspace. Sits on `Driver::workspace`, which puts mount and quota in place, and
//! works the same whether or not a session is running.
//!
//! What a session can do meanwhile (links, pipes, exchanged folders, names of any bytes, permissions) is dealt with in
//! `folder` and `path`; nothing else here opens a file.

pub mod browse;
pub mod content;
pub mod entry;
pub mod error;
mod folder;
pub mod history;
pub mod path;
pub mod quota;
pub mod recovery;
pub mod thumbnail;
pub mod trash;
mod upkeep;
pub mod upload;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::session::{HISTORY_DIR, RECOVERY_DIR, TRASH_DIR, UPLOAD_DIR};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseConnection, EntityTrait, QueryFilter};
use time::OffsetDateTime;
use tokio::sync::{Semaphore, broadcast};
use uuid::Uuid;

use crate::clock::Clock;
use crate::config::Settings;
use crate::db::entity::{storage_quota, user};
use crate::driver::{Driver, QuotaMechanism};
use crate::ids::UserId;
use error::FileError;
use folder::Folder;
use path::Name;
use quota::Quota;

/// Threads that work on files at once; more wait.
const BLOCKING_LIMIT: usize = 16;
/// Pictures decoded at once; each may take `thumbnail::MAX_MEMORY`.
const THUMBNAIL_LIMIT: usize = 2;
/// Uploads received at once on the whole platform; more are told to come back.
const RECEIVING_LIMIT: usize = 64;
/// Of one user.
const RECEIVING_PER_USER: usize = 8;
/// Quota changes a slow reader may lag behind. It misses the oldest then: each is the whole state.
const CHANGES_KEPT: usize = 256;

/// All workspaces of this platform. Cheap to clone.
#[derive(Clone)]
pub struct Workspaces(Arc<Inner>);

struct Inner {
    settings: Arc<Settings>,
    db: DatabaseConnection,
    clock: Clock,
    driver: Arc<Driver>,
    /// See `upload::STALL`.
    stall: Duration,
    blocking: Semaphore,
    decoding: Arc<Semaphore>,
    receiving: Semaphore,
    thumbnails: Mutex<thumbnail::Cache>,
    users: Mutex<HashMap<UserId, Arc<Shared>>>,
    changes: broadcast::Sender<(UserId, Quota)>,
}

/// What requests of one user share. Kept from their first request on; a few hundred bytes.
struct Shared {
    /// Single flight of `Driver::workspace`.
    opening: tokio::sync::Mutex<()>,
    /// Single flight of measuring.
    measuring: tokio::sync::Mutex<()>,
    /// Held while an upload is added to those counted.
    changing: tokio::sync::Mutex<()>,
    /// Uploads received at once.
    receiving: Semaphore,
    uploads: upload::Receiving,
    usage: Mutex<Option<quota::Usage>>,
    /// What SQL and the watchers of the quota know.
    told: Mutex<Option<Quota>>,
    /// The platform's folders were made since the server started.
    prepared: AtomicBool,
    /// When old files were last looked for.
    tidied: Mutex<Option<OffsetDateTime>>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            opening: Default::default(),
            measuring: Default::default(),
            changing: Default::default(),
            receiving: Semaphore::new(RECEIVING_PER_USER),
            uploads: Default::default(),
            usage: Default::default(),
            told: Default::default(),
            prepared: Default::default(),
            tidied: Default::default(),
        }
    }
}

/// What a user is given: needed to open the workspace and to start a session on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allotment {
    /// The user's own uid is `first_uid` plus this, where the server runs as root.
    pub uid_offset: u32,
    pub quota_bytes: u64,
}

/// A workspace, mounted and open. Holds the mount while it lives: keep it for one request only.
#[derive(Clone)]
pub struct Workspace {
    all: Workspaces,
    user: UserId,
    root: Arc<Folder>,
    mechanism: QuotaMechanism,
    quota_bytes: u64,
    shared: Arc<Shared>,
}

impl Workspaces {
    #[must_use]
    pub fn new(settings: Arc<Settings>, db: DatabaseConnection, clock: Clock, driver: Arc<Driver>) -> Self {
        Self::with_stall(settings, db, clock, driver, upload::STALL)
    }

    fn with_stall(
        settings: Arc<Settings>,
        db: DatabaseConnection,
        clock: Clock,
        driver: Arc<Driver>,
        stall: Duration,
    ) -> Self {
        Self(Arc::new(Inner {
            stall,
            settings,
            db,
            clock,
            driver,
            blocking: Semaphore::new(BLOCKING_LIMIT),
            decoding: Arc::new(Semaphore::new(THUMBNAIL_LIMIT)),
            receiving: Semaphore::new(RECEIVING_LIMIT),
            thumbnails: Mutex::default(),
            users: Mutex::default(),
            changes: broadcast::channel(CHANGES_KEPT).0,
        }))
    }

    /// Opens a user's workspace; makes and mounts it if need be.
    ///
    /// # Errors
    /// `Driver` when it can't be mounted.
    pub async fn open(&self, user: UserId) -> Result<Workspace, FileError> {
        let allotment = self.allotment(user).await?;
        let shared = self.shared(user);
        let _single = shared.opening.lock().await;
        let found = self.0.driver.workspace(user, allotment.uid_offset, allotment.quota_bytes).await?;
        let prepared = shared.prepared.load(Ordering::Relaxed);
        let (root, prepared) = self
            .blocking(move || {
                let root = Folder::open(&found.path, found.owner)?;
                let prepared = prepared || prepare(&root).is_ok();
                Ok((root, prepared))
            })
            .await?;
        shared.prepared.store(prepared, Ordering::Relaxed);
        Ok(Workspace {
            all: self.clone(),
            user,
            root: Arc::new(root),
            mechanism: found.mechanism,
            quota_bytes: allotment.quota_bytes,
            shared: shared.clone(),
        })
    }

    /// The user's uid offset and quota; gives out both at first.
    ///
    /// # Errors
    /// When the database fails, or the user is gone (`NotFound`).
    pub async fn allotment(&self, user: UserId) -> Result<Allotment, FileError> {
        let uid_offset = match self.uid_offset(user).await? {
            Some(offset) => offset,
            None => self.give_uid_offset(user).await?,
        };
        let row =
            storage_quota::Entity::find().filter(storage_quota::Column::UserId.eq(user.0)).one(&self.0.db).await?;
        let gib = match row {
            Some(row) => u64::try_from(row.storage_gb).unwrap_or(0),
            None => self.give_quota(user).await?,
        };
        Ok(Allotment { uid_offset, quota_bytes: gib << 30 })
    }

    async fn uid_offset(&self, user: UserId) -> Result<Option<u32>, FileError> {
        let row = user::Entity::find_by_id(user.0).one(&self.0.db).await?.ok_or(FileError::NotFound)?;
        Ok(row.uid_offset.and_then(|offset| u32::try_from(offset).ok()))
    }

    /// The next free one. The unique index decides between two at the same time; the loser tries again.
    async fn give_uid_offset(&self, user: UserId) -> Result<u32, FileError> {
        let backend = self.0.db.get_database_backend();
        let sql = match backend {
            sea_orm::DatabaseBackend::Postgres => {
                "UPDATE users SET uid_offset = (SELECT COALESCE(MAX(uid_offset), -1) + 1 FROM users) \
                 WHERE id = $1 AND uid_offset IS NULL"
            }
            _ => {
                "UPDATE users SET uid_offset = (SELECT COALESCE(MAX(uid_offset), -1) + 1 FROM users) \
                 WHERE id = ? AND uid_offset IS NULL"
            }
        };
        let mut last = None;
        for _ in 0..16 {
            let statement = sea_orm::Statement::from_sql_and_values(backend, sql, [user.0.into()]);
            if let Err(error) = self.0.db.execute_raw(statement).await {
                last = Some(error);
                continue;
            }
            if let Some(offset) = self.uid_offset(user).await? {
                return Ok(offset);
            }
        }
        Err(last.map_or(FileError::Busy, FileError::from))
    }

    /// The configured quota for a user who has none yet. GiB.
    async fn give_quota(&self, user: UserId) -> Result<u64, FileError> {
        let now = self.0.clock.now();
        let gib = self.0.settings.quota_gb;
        storage_quota::Entity::insert(storage_quota::ActiveModel {
            id: Set(Uuid::now_v7()),
            user_id: Set(user.0),
            storage_gb: Set(i32::try_from(gib).unwrap_or(i32::MAX)),
            used_gb: Set(0),
            used_bytes: Set(0),
            created_at: Set(now),
            updated_at: Set(now),
        })
        .on_conflict(OnConflict::column(storage_quota::Column::UserId).do_nothing().to_owned())
        .exec_without_returning(&self.0.db)
        .await?;
        Ok(gib.into())
    }

    /// Each measured change of a user's usage.
    #[must_use]
    pub fn quota_changes(&self) -> broadcast::Receiver<(UserId, Quota)> {
        self.0.changes.subscribe()
    }

    fn shared(&self, user: UserId) -> Arc<Shared> {
        let mut users = self.0.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.entry(user).or_default().clone()
    }

    /// Runs file work on the blocking threads, a bounded number at a time.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, FileError> {
        let _permit = self.0.blocking.acquire().await.map_err(|error| FileError::Internal(error.into()))?;
        tokio::task::spawn_blocking(work).await.map_err(|error| FileError::Internal(error.into()))?
    }

    async fn store_usage(&self, user: UserId, used_bytes: u64) -> Result<(), FileError> {
        let used_gb = i32::try_from(used_bytes.div_ceil(1 << 30)).unwrap_or(i32::MAX);
        storage_quota::Entity::update_many()
            .col_expr(storage_quota::Column::UsedBytes, Expr::value(i64::try_from(used_bytes).unwrap_or(i64::MAX)))
            .col_expr(storage_quota::Column::UsedGb, Expr::value(used_gb))
            .col_expr(storage_quota::Column::UpdatedAt, Expr::value(self.0.clock.now()))
            .filter(storage_quota::Column::UserId.eq(user.0))
            .exec(&self.0.db)
            .await?;
        Ok(())
    }
}

impl Workspace {
    /// Runs file work with the top folder.
    async fn with_root<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, FileError> {
        let root = self.root.clone();
        let done = self.all.blocking(move || work(&root)).await;
        match done {
            // The disk that is full is the workspace's own.
            Err(FileError::DiskFull) if self.mechanism == QuotaMechanism::Image => {
                Err(FileError::QuotaExceeded { needed: 1, left: 0 })
            }
            other => other,
        }
    }
}

/// One of the platform's folders, made if need be.
fn platform_folder(root: &Folder, place: &str) -> Result<Folder, FileError> {
    let mut names = place.split('/').map(Name::parse);
    let first = names.next().unwrap_or(Err(path::PathError::Empty))?;
    names.try_fold(root.ensure_folder(&first)?, |folder, name| folder.ensure_folder(&name?))
}

/// Makes all of them, so that deleting works when the disk is full.
fn prepare(root: &Folder) -> Result<(), FileError> {
    platform_folder(root, &format!("{TRASH_DIR}/{}", trash::PURGE))?;
    for place in [UPLOAD_DIR, RECOVERY_DIR, HISTORY_DIR] {
        platform_folder(root, place)?;
    }
    Ok(())
}

fn trash_folder(root: &Folder) -> Result<Folder, FileError> {
    platform_folder(root, TRASH_DIR)
}

fn upload_folder(root: &Folder) -> Result<Folder, FileError> {
    platform_folder(root, UPLOAD_DIR)
}

#[cfg(test)]
impl Workspaces {
    /// Senders must be quick.
    pub(crate) fn with_short_stall(app: &crate::state::App) -> Self {
        let (settings, db) = (app.settings.clone(), app.db.clone());
        Self::with_stall(settings, db, app.clock.clone(), app.driver.clone(), Duration::from_millis(300))
    }
}

#[cfg(test)]
impl Workspace {
    /// As if this kept the quota.
    pub(crate) fn pretend(&mut self, mechanism: QuotaMechanism) {
        self.mechanism = mechanism;
    }

    pub(crate) async fn fill_for_test(&self) -> Result<(), FileError> {
        self.with_root(|root| root.write_new(&Name::parse("one more")?, &[0; 4 << 20])).await
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use super::*;

    /// Runs a test of this program again through another program. True in that run.
    pub(crate) fn again(test: &str, wrapper: &[&str]) -> bool {
        const INSIDE: &str = "GIMP_PLATFORM_TEST_AGAIN";
        if std::env::var_os(INSIDE).is_some() {
            return true;
        }
        let mut command = std::process::Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(std::env::current_exe().expect("a program")).args([
            "--exact",
            test,
            "--nocapture",
        ]);
        let output = command.env(INSIDE, "1").output().expect("util-linux is installed");
        let text = String::from_utf8_lossy(&output.stdout);
        // A name that is none would pass without a test.
        let passed = output.status.success() && text.contains("1 passed");
        assert!(passed, "{}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        false
    }

    /// Makes a file and a folder as the server does for this owner.
    pub(crate) fn make_as_owner(path: &Path, owner: folder::Owner) {
        let folder = Folder::open(path, owner).expect("opens");
        folder.create_file(&Name::parse("file").expect("a name")).expect("a file");
        folder.create_folder(&Name::parse("folder").expect("a name")).expect("a folder");
    }
}
