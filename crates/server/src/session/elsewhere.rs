//! Sessions whose keeper is on another server: what they are like, and how their keeper is asked for something. Also hears
//! what other servers want of the keepers here.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use protocol::session::EndReason;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::lifecycle::{Lifecycle, Memo};
use super::report::Report;
use super::watchers::Event;
use super::{Command, CommandError, Known, Live, Owner, Sessions, row};
use crate::db::entity::session::{Column, Entity, Model};
use crate::ids::{SessionId, UserId};
use crate::replicas::Message;

/// How long a keeper elsewhere may take to do what it is asked for. Longer than a dead server's sessions wait.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks whether it did.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Until what was missed is looked for again, where the database fails.
const RETRY: Duration = Duration::from_millis(500);

/// What a keeper knows beyond the row, as it shows it to other servers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Told {
    pub memo: Memo,
    report: Option<Report>,
}

impl Told {
    /// A body of another version may say what this one can't read.
    pub fn read(body: &str) -> Option<Self> {
        serde_json::from_str(body).ok()
    }

    pub fn by(live: &Live) -> Self {
        // When there was input is in the memo; this differs each time.
        let report = live.report.clone().map(|report| Report { idle: time::Duration::ZERO, ..report });
        Self { memo: live.life.memo(), report }
    }
}

/// Follows what other servers tell, until the application ends.
pub(super) async fn hear(owner: Weak<Owner>) {
    let Some(messages) = owner.upgrade().map(|owner| owner.context.replicas.messages()) else { return };
    let mut messages = Box::pin(messages);
    while let Some(message) = messages.next().await {
        let mut changed: HashMap<SessionId, (UserId, bool)> = HashMap::new();
        let mut missed = false;
        let mut next = Some(message);
        let Some(sessions) = owner.upgrade().map(Sessions) else { return };
        // A session that changed several times is looked at once.
        while let Some(message) = next {
            match message {
                Message::Session { id, user, asked } => {
                    changed.entry(id).or_insert((user, false)).1 |= asked;
                }
                Message::Notice { session, user, notice } => {
                    // Its keeper has told those who are here.
                    if sessions.commands(session).is_none() {
                        sessions.watchers().tell(user, Event::Notice(session, notice));
                    }
                }
                Message::Left => sessions.0.left.notify_one(),
                Message::Missed => missed = true,
                Message::Alive(_) => {}
            }
            next = messages.next().now_or_never().flatten();
        }
        let seen = if missed { sessions.look_at_all().await } else { sessions.look_at(changed).await };
        if let Err(error) = seen {
            tracing::warn!(%error, "how the sessions of other servers are can't be read; trying again");
            tokio::time::sleep(RETRY).await;
            while let Err(error) = sessions.look_at_all().await {
                tracing::debug!(%error, "still not");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

impl Sessions {
    async fn look_at(&self, changed: HashMap<SessionId, (UserId, bool)>) -> Result<(), sea_orm::DbErr> {
        let mut elsewhere = HashMap::new();
        for (id, (user, asked)) in changed {
            match self.commands(id) {
                // Full: see `keep_all`.
                Some(commands) if asked => drop(commands.try_send(Command::Asked)),
                Some(_) => {}
                None => drop(elsewhere.insert(id, user)),
            }
        }
        if elsewhere.is_empty() {
            return Ok(());
        }
        let rows = Entity::find().filter(Column::Id.is_in(elsewhere.keys().map(|id| id.0)));
        let rows = rows.all(&self.0.context.db).await?;
        let shown = row::shown(&self.0.context.db, rows.iter().map(|row| row.id)).await?;
        self.forget(elsewhere.keys().copied().filter(|id| rows.iter().all(|row| row.id != id.0)));
        for row in rows {
            let told = shown.get(&row.id).map(String::as_str);
            self.see(row, told);
        }
        for (id, user) in elsewhere {
            // Rows go with their users.
            self.0.context.watchers.tell(user, Event::Session(id));
        }
        Ok(())
    }

    /// After something may have been missed.
    async fn look_at_all(&self) -> Result<(), sea_orm::DbErr> {
        let db = &self.0.context.db;
        let rows = row::active(db).await?;
        let shown = row::shown(db, rows.iter().map(|row| row.id)).await?;
        let gone: Vec<_> = {
            let known = self.known();
            let unkept = known.iter().filter(|(_, known)| known.commands.is_none()).map(|(id, _)| id.0);
            unkept.filter(|id| rows.iter().all(|row| row.id != *id)).collect()
        };
        let ended = Entity::find().filter(Column::Id.is_in(gone.clone())).all(db).await?;
        for row in rows.into_iter().chain(ended) {
            let told = shown.get(&row.id).map(String::as_str);
            let asked = row.end_asked.is_some() || row.keep_asked_at.is_some();
            match self.commands(SessionId(row.id)) {
                Some(commands) if asked => drop(commands.try_send(Command::Asked)),
                Some(_) => {}
                None => {
                    let (id, user) = (SessionId(row.id), UserId(row.user_id));
                    drop(self.see(row, told));
                    self.0.context.watchers.tell(user, Event::Session(id));
                }
            }
        }
        self.forget(gone.into_iter().map(SessionId));
        Ok(())
    }

    /// Sessions that are over, unless their keeper here still has to end them.
    fn forget(&self, gone: impl Iterator<Item = SessionId>) {
        let mut all = self.known();
        for id in gone {
            if all.get(&id).is_some_and(|known| known.commands.is_none()) {
                all.remove(&id);
            }
        }
    }

    /// The session as it is now, where `watch` may be some milliseconds behind its keeper on another server.
    ///
    /// # Errors
    /// As `watch`.
    pub async fn watch_closely(&self, session: SessionId) -> Result<watch::Receiver<Live>, CommandError> {
        let live = self.watch(session).await?;
        if live.borrow().life.usable().is_ok() || self.commands(session).is_some() {
            return Ok(live);
        }
        let db = &self.0.context.db;
        let row = Entity::find_by_id(session.0).one(db).await?.ok_or(CommandError::Unknown)?;
        let shown = row::shown(db, [row.id]).await?;
        let told = shown.get(&row.id).map(String::as_str);
        Ok(self.see(row, told))
    }

    /// Takes note of a session that has its keeper elsewhere, or none at the moment.
    pub(crate) fn see(&self, row: Model, told: Option<&str>) -> watch::Receiver<Live> {
        let context = &self.0.context;
        let id = SessionId(row.id);
        let told = told.and_then(Told::read);
        let (memo, report) = told.map_or((None, None), |told| (Some(told.memo), told.report));
        let now = context.clock.now();
        let life = Lifecycle::seen(context.rules, now, row::found(&row), row.ended_at, memo.as_ref());
        let mut all = self.known();
        let known = all.entry(id).or_insert_with(|| Known {
            live: Arc::new(watch::Sender::new(Live { life: life.clone(), report: None })),
            commands: None,
        });
        let watched = known.live.subscribe();
        if known.commands.is_none() {
            known.live.send_modify(|live| {
                live.life = life;
                live.report = report.or(live.report.take());
            });
            if row.ended_at.is_some() {
                all.remove(&id);
            }
        }
        watched
    }

    /// Has the session's keeper begin its end, wherever it is. What was asked happens, even where this server has not
    /// seen it when this returns.
    pub(super) async fn ask_end(&self, session: SessionId, reason: EndReason) -> Result<(), CommandError> {
        if row::ask_end(&self.0.context.db, session, reason).await? {
            self.done(session, |row| row.end_reason.is_some() || row.ended_at.is_some()).await?;
        }
        Ok(())
    }

    /// Has the session's keeper keep it longer, wherever it is.
    pub(super) async fn ask_keep(&self, session: SessionId) -> Result<(), CommandError> {
        let context = &self.0.context;
        let now = context.clock.now();
        // What the keeper will say: it decides by the same rules.
        let allowed = self.watch(session).await?.borrow().life.clone().extend(now).map(drop);
        allowed?;
        row::ask_keep(&context.db, session, now).await?;
        if self.done(session, |row| row.keep_asked_at.is_none()).await? { Ok(()) } else { Err(CommandError::Unkept) }
    }

    /// Whether the keeper did it in time.
    async fn done(&self, session: SessionId, so: impl Fn(&Model) -> bool) -> Result<bool, sea_orm::DbErr> {
        let looking = tokio::time::timeout(ANSWER_LIMIT, async {
            loop {
                let row = Entity::find_by_id(session.0).one(&self.0.context.db).await?;
                if row.is_none_or(|row| so(&row)) {
                    return Ok(());
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        });
        looking.await.map_or(Ok(false), |seen| seen.map(|()| true))
    }
}
