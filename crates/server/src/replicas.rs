//! Several servers on one PostgreSQL: each says every second that it lives, and what a dead one looked after goes to the
//! others. On SQLite there is one, and nothing here costs it anything.
//!
//! A server's right to write ends by itself: its row in `servers` is good for `LEASE`, by the database's clock, and each
//! write of a task that only one may do names the server's `term` there, which the database checks in the same statement
//! (`session::row`, `begin_chore`). A server that was stopped for a while and goes on finds its writes refused. So that it
//! does nothing else either, it keeps the same time by its own clock, from before it asked: `Tenure`.
//!
//! Which session is whose is in `sessions`: any server takes what has no living keeper, one by one, and the session's own
//! `term` grows. Everything else any server does: requests, pictures, event streams. Changes reach the others by `messages`.

pub mod messages;
mod tenure;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use sea_orm::{
    ConnectionTrait, Database, DatabaseBackend, DatabaseConnection, DatabaseTransaction, DbErr, Statement, Value,
};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::config::{DriverKind, Settings};
use crate::db::transaction;
pub use messages::Message;
pub use tenure::Tenure;

/// A server that has not said for so long that it lives counts as dead. Seconds, whole.
pub const LEASE: Duration = Duration::from_secs(5);
/// Between two times that it says so.
const RENEW: Duration = Duration::from_secs(1);
/// For the database's answer to it.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// A server that hears nothing of its own for longer does not hear the others either.
const SILENCE_LIMIT: Duration = Duration::from_secs(5);
/// How long a server's row, alive although this one has only begun, is watched for being renewed by another process. Longer
/// than that takes, with a slow answer.
const TWIN_LIMIT: Duration = Duration::from_millis(3500);
/// How long a server that must be alone waits for another to be gone: one that was killed has its lease still.
const ALONE_LIMIT: Duration = Duration::from_secs(8);

/// Which of the servers this one is. Cheap to clone.
#[derive(Clone)]
pub struct Replicas(Arc<Inner>);

struct Inner {
    id: Uuid,
    /// Another for each process, whereas `id` may have been copied with the data directory.
    run: Uuid,
    /// A run of this server that is known to be dead; None: that has to be found out.
    before: Option<Uuid>,
    /// None: the database is SQLite, so there is one server.
    several: Option<Several>,
    tenure: watch::Sender<Tenure>,
    /// This server has left for good. Locked while it says that it lives.
    left: tokio::sync::Mutex<bool>,
}

struct Several {
    /// Of its own: the requests of others must not keep this server from saying that it lives. Another one after a failure:
    /// connections whose other end vanished are given up by nobody for minutes.
    db: Mutex<DatabaseConnection>,
    url: String,
    driver: DriverKind,
    /// When it last heard itself.
    heard: Mutex<Option<Instant>>,
}

impl Replicas {
    /// Has no right to write yet: see `join` and `run`.
    ///
    /// # Errors
    /// When the identity of this server can't be read or written, or the database not be reached.
    pub async fn new(settings: &Settings, db: &DatabaseConnection) -> anyhow::Result<Self> {
        if db.get_database_backend() != DatabaseBackend::Postgres {
            return Ok(Self::alone());
        }
        let id = identity(&settings.private_dir()).context("the identity of this server")?;
        let url = settings.database().expose().to_owned();
        let db = Mutex::new(Several::open(&url).await.context("the database can't be opened")?);
        let several = Several { db, url, driver: settings.driver, heard: Mutex::default() };
        Ok(Self::of(id, None, Some(several), Tenure::none()))
    }

    fn alone() -> Self {
        Self::of(Uuid::nil(), None, None, Tenure::alone())
    }

    fn of(id: Uuid, before: Option<Uuid>, several: Option<Several>, tenure: Tenure) -> Self {
        let run = Uuid::new_v4();
        Self(Arc::new(Inner {
            id,
            run,
            before,
            several,
            tenure: watch::Sender::new(tenure),
            left: tokio::sync::Mutex::default(),
        }))
    }

    /// The next run of this server, which has joined as little as one that was just started. This one is dead.
    #[cfg(test)]
    pub(crate) fn again(&self) -> Self {
        let Some(several) = &self.0.several else { return Self::alone() };
        let (db, url, driver) = (several.db(), several.url.clone(), several.driver);
        let several = Several { db: Mutex::new(db), url, driver, heard: Mutex::default() };
        Self::of(self.0.id, Some(self.0.run), Some(several), Tenure::none())
    }

    /// Whether there may be others.
    #[must_use]
    pub fn several(&self) -> bool {
        self.0.several.is_some()
    }

    /// This server's right to write, at this moment.
    #[must_use]
    pub fn tenure(&self) -> Tenure {
        self.0.tenure.borrow().clone()
    }

    /// Changes whenever a right to write begins.
    #[must_use]
    pub fn tenures(&self) -> watch::Receiver<Tenure> {
        self.0.tenure.subscribe()
    }

    /// Before anything else is done with the database.
    ///
    /// # Errors
    /// When another server is on it and not both run their sessions in a cluster, or another one has this one's identity; or
    /// of the database.
    pub async fn join(&self) -> anyhow::Result<()> {
        let Some(several) = &self.0.several else { return Ok(()) };
        let deadline = Instant::now() + ALONE_LIMIT;
        let mut told = false;
        let mut watch = TwinWatch { seen: None, dead: self.0.before };
        loop {
            let registered = match several.register(self.0.id, self.0.run, watch.dead).await {
                // Such as where a server that joined was frozen halfway.
                Err(error) if crate::db::is_away(&error) && Instant::now() < deadline => {
                    tracing::debug!(%error, "this server can't join the others yet; trying again");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
                registered => registered?,
            };
            match registered {
                Ok(tenure) => {
                    self.0.tenure.send_replace(tenure);
                    return Ok(());
                }
                Err(Beside::Others(others)) if Instant::now() >= deadline => anyhow::bail!(
                    "another server is running on this database (driver {others}, this one: {}). Several servers need the \
                     driver kubernetes, each of them: end the other, or give this one a database of its own",
                    driver_name(several.driver)
                ),
                // Of a run that was killed just now, or of a process that lives.
                Err(Beside::Twin { run, until }) => {
                    if watch.renewed(run, until) {
                        anyhow::bail!("{TWIN}");
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(Beside::Others(_)) => {
                    if !told {
                        tracing::info!("waiting for the server before this one to be gone");
                        told = true;
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    /// Says that this server lives, until dropped. Begins anew when the right to write was lost.
    pub async fn run(self) {
        let keeps = metrics::gauge!("gimp_platform_keeps_sessions");
        keeps.set(1);
        let Some(several) = &self.0.several else { return };
        let mut failing = false;
        loop {
            let left = self.0.left.lock().await;
            if *left {
                keeps.set(0);
                return;
            }
            let began = Instant::now();
            let renewed = tokio::time::timeout(ANSWER_LIMIT, self.renew(several, began)).await;
            let error = match renewed {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{error:#}")),
                Err(_) => Some("no answer in time".to_owned()),
            };
            if error.is_none() && failing {
                tracing::info!("this server looks after sessions again");
            }
            if let Some(error) = &error
                && !failing
            {
                tracing::warn!(error, "the database does not take that this server lives; trying again");
            }
            failing = error.is_some();
            if failing && let Err(error) = several.open_anew().await {
                tracing::warn!(%error, "the connections to the database can't be replaced");
            }
            keeps.set(if self.tenure().holds() { 1 } else { 0 });
            drop(left);
            tokio::time::sleep_until(began + RENEW).await;
        }
    }

    async fn renew(&self, several: &Several, began: Instant) -> anyhow::Result<()> {
        let tenure = self.tenure();
        // The answer may have come too late for whoever acts by it.
        if tenure.holds() && several.renew(&tenure, self.0.id).await? && tenure.holds() {
            tenure.extend(began + LEASE);
            return Ok(());
        }
        // Whoever acts by it still, stops. It never comes back: the next one is another.
        tenure.end();
        match several.register(self.0.id, self.0.run, None).await? {
            Ok(tenure) => {
                self.0.tenure.send_replace(tenure);
                Ok(())
            }
            // It keeps the sessions: two that take them from each other would keep none.
            Err(Beside::Twin { .. }) => anyhow::bail!("{TWIN}"),
            Err(Beside::Others(others)) => anyhow::bail!("another server is on this database (driver {others})"),
        }
    }

    /// Gives up the right to write at once and for good, so that others need not wait for it to end.
    pub async fn leave(&self) {
        let Some(several) = &self.0.several else { return };
        *self.0.left.lock().await = true;
        let tenure = self.0.tenure.send_replace(Tenure::none());
        tenure.end();
        if let Err(error) = tokio::time::timeout(ANSWER_LIMIT, several.leave(&tenure)).await.unwrap_or(Ok(())) {
            tracing::warn!(%error, "the other servers take this one's sessions in some seconds only");
        }
    }

    /// Closes its own connections.
    pub async fn close(&self) {
        if let Some(several) = &self.0.several
            && let Err(error) = several.db().close().await
        {
            tracing::warn!(%error, "connections to the database could not be closed");
        }
    }

    /// Whether other servers live.
    ///
    /// # Errors
    /// Of the database.
    pub async fn others(&self) -> Result<bool, DbErr> {
        let Some(several) = &self.0.several else { return Ok(false) };
        Ok(!others(&several.db(), self.0.id).await?.is_empty())
    }

    /// The other servers that live.
    ///
    /// # Errors
    /// Of the database.
    pub async fn living(&self) -> Result<Vec<Uuid>, DbErr> {
        let Some(several) = &self.0.several else { return Ok(vec![]) };
        living(&several.db(), self.0.id).await
    }

    /// Which of them this one is.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.0.id
    }

    /// `ok`, or what is wrong, for people.
    #[must_use]
    pub fn state(&self) -> String {
        let Some(several) = &self.0.several else { return "ok".to_owned() };
        let heard = *several.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.tenure().holds() {
            "this server may not look after sessions at the moment: the database did not take that it lives".to_owned()
        } else if heard.is_none_or(|at| at.elapsed() > SILENCE_LIMIT) {
            "this server does not hear the others: the way to the database must let LISTEN and NOTIFY through"
                .to_owned()
        } else {
            "ok".to_owned()
        }
    }

    /// A transaction in which this server alone does what only one may do, `name`, as long as it is open. None: another
    /// server does it.
    ///
    /// # Errors
    /// Of the database.
    pub async fn begin_chore(
        &self,
        db: &DatabaseConnection,
        name: &'static str,
    ) -> Result<Option<DatabaseTransaction>, DbErr> {
        let tx = transaction::begin_write(db).await?;
        if !self.several() {
            return Ok(Some(tx));
        }
        let Some((server, term)) = self.tenure().fence() else { return Ok(None) };
        // The row stays locked until the end of the transaction: nobody takes it over from under the work.
        let taken = Statement::from_sql_and_values(
            DatabaseBackend::Postgres,
            format!(
                "INSERT INTO leases (name, keeper, keeper_term, term) SELECT $1, $2, $3, 1 WHERE {mine} \
                 ON CONFLICT (name) DO UPDATE SET keeper = $2, keeper_term = $3, term = leases.term + 1 \
                 WHERE (leases.keeper = $2 AND leases.keeper_term = $3) OR NOT {alive} RETURNING term",
                mine = alive("$2", "$3"),
                alive = alive("leases.keeper", "leases.keeper_term"),
            ),
            [Value::from(name), server.into(), term.into()],
        );
        let taken = tx.query_one_raw(taken).await?;
        Ok(taken.map(|_| tx))
    }

    fn heard(&self, server: Uuid) {
        if server == self.0.id
            && let Some(several) = &self.0.several
        {
            *several.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }
}

/// SQL: this server lives, in this term. Not `now()`, which is when the transaction began.
pub fn alive(server: &str, term: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM servers v WHERE v.id = {server} AND v.term = {term} AND v.until > clock_timestamp())"
    )
}

impl Several {
    /// Opened when it is needed, so this does not wait.
    async fn open(url: &str) -> Result<DatabaseConnection, DbErr> {
        let mut options = crate::db::options(url, ANSWER_LIMIT);
        options.max_connections(2).connect_lazy(true);
        Database::connect(options).await
    }

    fn db(&self) -> DatabaseConnection {
        self.db.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn open_anew(&self) -> Result<(), DbErr> {
        let new = Self::open(&self.url).await?;
        *self.db.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// The inner error says beside whom this server may not be. `dead`: a run of it that does not live any more, whatever
    /// its row says.
    async fn register(&self, id: Uuid, run: Uuid, dead: Option<Uuid>) -> Result<Result<Tenure, Beside>, DbErr> {
        let began = Instant::now();
        let tx = transaction::begin_servers(&self.db()).await?;
        let others = others(&tx, id).await?;
        // All of them reach the same sandboxes. Those of the fake driver, for trying out, are shared by whoever says so.
        let shared = self.driver != DriverKind::Local && others.iter().all(|driver| driver == driver_name(self.driver));
        if !others.is_empty() && !shared {
            return Ok(Err(Beside::Others(others.join(", "))));
        }
        if let Some((other, until)) = twin(&tx, id, run).await?
            && Some(other) != dead
        {
            return Ok(Err(Beside::Twin { run: other, until }));
        }
        let row = tx
            .query_one_raw(Statement::from_sql_and_values(
                DatabaseBackend::Postgres,
                format!(
                    "INSERT INTO servers (id, term, until, driver, run) \
                     VALUES ($1, 1, clock_timestamp() + {lease}, $2, $3) \
                     ON CONFLICT (id) DO UPDATE SET term = servers.term + 1, until = excluded.until, driver = $2, run = $3 \
                     RETURNING term",
                    lease = interval(LEASE)
                ),
                [Value::from(id), driver_name(self.driver).into(), run.into()],
            ))
            .await?;
        let row = row.ok_or_else(|| DbErr::RecordNotFound("servers".to_owned()))?;
        let term = row.try_get_by_index::<i64>(0)?;
        // Long gone, and nothing refers to them.
        tx.execute_unprepared("DELETE FROM servers WHERE until < clock_timestamp() - interval '7 days'").await?;
        tx.commit().await?;
        Ok(Ok(Tenure::of(id, term, began + LEASE)))
    }

    /// False: the right to write has ended.
    async fn renew(&self, tenure: &Tenure, id: Uuid) -> Result<bool, DbErr> {
        let Some((server, term)) = tenure.fence() else { return Ok(false) };
        let renewed = Statement::from_sql_and_values(
            DatabaseBackend::Postgres,
            format!(
                "WITH renewed AS (UPDATE servers SET until = clock_timestamp() + {lease} \
                 WHERE id = $1 AND term = $2 AND until > clock_timestamp() RETURNING id) \
                 SELECT pg_notify('{channel}', $3) FROM renewed",
                lease = interval(LEASE),
                channel = messages::CHANNEL,
            ),
            [Value::from(server), term.into(), messages::text(&Message::Alive(id)).into()],
        );
        Ok(self.db().query_one_raw(renewed).await?.is_some())
    }

    async fn leave(&self, tenure: &Tenure) -> Result<(), DbErr> {
        let Some((server, term)) = tenure.fence() else { return Ok(()) };
        let left = Statement::from_sql_and_values(
            DatabaseBackend::Postgres,
            format!(
                "WITH gone AS (UPDATE servers SET until = clock_timestamp() WHERE id = $1 AND term = $2 RETURNING id) \
                 SELECT pg_notify('{channel}', $3) FROM gone",
                channel = messages::CHANNEL,
            ),
            [Value::from(server), term.into(), messages::text(&Message::Left).into()],
        );
        self.db().query_one_raw(left).await.map(drop)
    }
}

/// What people are told where two processes have one identity.
const TWIN: &str = "another process runs with the identity of this server, the file private/server in its data directory: the \
                    directory was copied while it was used. End the other one, or remove that file here: this server then gets an \
                    identity of its own";

/// Beside whom a server may not be.
enum Beside {
    /// Servers with these drivers.
    Others(String),
    /// A process with the same identity, alive until then unless it renews that.
    Twin { run: Uuid, until: OffsetDateTime },
}

/// Looks whether a row is renewed by a process, or is what a dead one left.
struct TwinWatch {
    seen: Option<(Uuid, OffsetDateTime, Instant)>,
    /// The run that renewed nothing for long enough.
    dead: Option<Uuid>,
}

impl TwinWatch {
    /// True: a process renews it.
    fn renewed(&mut self, run: Uuid, until: OffsetDateTime) -> bool {
        let Some((_, before, since)) = self.seen.filter(|(seen, ..)| *seen == run) else {
            let another = self.seen.is_some();
            self.seen = Some((run, until, Instant::now()));
            // It has begun after we looked first.
            return another;
        };
        if since.elapsed() >= TWIN_LIMIT {
            self.dead = Some(run);
        }
        until > before
    }
}

/// Another process that has this server's identity, and until when it counts as alive.
async fn twin(db: &impl ConnectionTrait, id: Uuid, run: Uuid) -> Result<Option<(Uuid, OffsetDateTime)>, DbErr> {
    let row = db
        .query_one_raw(Statement::from_sql_and_values(
            DatabaseBackend::Postgres,
            "SELECT run, until FROM servers WHERE id = $1 AND run <> $2 AND until > clock_timestamp()",
            [id.into(), run.into()],
        ))
        .await?;
    row.map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).transpose()
}

/// Ids of the other servers that live.
async fn living(db: &impl ConnectionTrait, id: Uuid) -> Result<Vec<Uuid>, DbErr> {
    let rows = db
        .query_all_raw(Statement::from_sql_and_values(
            DatabaseBackend::Postgres,
            "SELECT id FROM servers WHERE id <> $1 AND until > clock_timestamp()",
            [id.into()],
        ))
        .await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// Drivers of the other servers that live.
async fn others(db: &impl ConnectionTrait, id: Uuid) -> Result<Vec<String>, DbErr> {
    let rows = db
        .query_all_raw(Statement::from_sql_and_values(
            DatabaseBackend::Postgres,
            "SELECT driver FROM servers WHERE id <> $1 AND until > clock_timestamp()",
            [id.into()],
        ))
        .await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

fn interval(time: Duration) -> String {
    format!("interval '{} seconds'", time.as_secs())
}

const fn driver_name(driver: DriverKind) -> &'static str {
    match driver {
        DriverKind::Local => "local",
        DriverKind::Kubernetes => "kubernetes",
        DriverKind::Fake => "fake",
    }
}

/// Goes with the data directory, which one server has at a time: a server that is started again need not wait for the
/// end of its own lease.
fn identity(private_dir: &Path) -> std::io::Result<Uuid> {
    let path = private_dir.join("server");
    match std::fs::read_to_string(&path) {
        Ok(text) if text.trim().parse::<Uuid>().is_ok() => Ok(text.trim().parse().unwrap_or_default()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        // None yet, or half-written by one that died on this line.
        Ok(_) | Err(_) => {
            let id = Uuid::new_v4();
            std::fs::write(&path, format!("{id}\n"))?;
            Ok(id)
        }
    }
}

#[cfg(test)]
mod tests;
