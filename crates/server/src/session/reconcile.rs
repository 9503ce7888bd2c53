//! Brings what SQL says and what the driver sees together: at start and on a timer. Safe to repeat, and the answer to
//! a server that died on any line.

use std::sync::{PoisonError, Weak};
use std::time::Duration;

use futures::StreamExt;
use protocol::agent::AgentPhase;
use protocol::session::EndReason;

use super::lifecycle::{Rules, Silence};
use super::{Command, Owner, Sessions, keeper, row};
use crate::ids::SessionId;
use crate::replicas::Tenure;

/// Between two rounds. What is found then was left by a crash or a failed removal, so nobody waits for it.
const INTERVAL: Duration = Duration::from_secs(30);
/// Until the first round is tried again when the database or the driver fails.
const RETRY: Duration = Duration::from_secs(2);
/// Between two looks for sessions of servers that are gone.
const TAKE_INTERVAL: Duration = Duration::from_secs(1);
/// Removing what is left over, see `Replicas::begin_chore`.
const CHORE: &str = "sandboxes";

pub(super) async fn run(owner: Weak<Owner>) {
    let Some(mut tenures) = owner.upgrade().map(|owner| owner.context.replicas.tenures()) else { return };
    loop {
        // Without a right to write there is nothing to do.
        if tenures.wait_for(Tenure::holds).await.is_err() {
            return;
        }
        let Some(owner) = owner.upgrade() else { return };
        let pause = match Sessions(owner).reconcile().await {
            Ok(()) => INTERVAL,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "sessions could not be reconciled; trying again");
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Takes the sessions of servers that are gone, until the application ends. PostgreSQL only.
pub(super) async fn take_over(owner: Weak<Owner>) {
    let Some(mut tenures) = owner.upgrade().map(|owner| owner.context.replicas.tenures()) else { return };
    loop {
        let Some(owner) = owner.upgrade() else { return };
        let sessions = Sessions(owner.clone());
        if let Err(error) = sessions.take_all().await {
            tracing::debug!(%error, "sessions without a keeper can't be taken; trying again");
        }
        // Later, where a session that is begun takes long.
        if let Ok(Err(error)) = tokio::time::timeout(TAKE_INTERVAL, sessions.keep_all()).await {
            tracing::debug!(error = format!("{error:#}"), "which sessions are ours can't be read");
        }
        tokio::select! {
            () = tokio::time::sleep(TAKE_INTERVAL) => {}
            () = owner.left.notified() => {}
            _ = tenures.changed() => {}
        }
    }
}

impl Sessions {
    /// Takes what has no living keeper.
    ///
    /// # Errors
    /// Of the database.
    pub(super) async fn take_all(&self) -> Result<(), sea_orm::DbErr> {
        let context = &self.0.context;
        loop {
            let tenure = context.replicas.tenure();
            if self.0.leaving.is_cancelled() {
                return Ok(());
            }
            let taken = row::take(&context.db, &tenure, None, &context.passed_on()).await?;
            if taken.is_empty() {
                return Ok(());
            }
            let shown = self.shown(&taken).await;
            for row in taken {
                metrics::counter!("gimp_platform_sessions_taken_total").increment(1);
                tracing::info!(session = %row.id, status = row.status, "session without a keeper taken");
                let told = shown.get(&row.id).map(String::as_str);
                self.keep_found(row, tenure.clone(), told);
            }
        }
    }

    /// A keeper for every row that the database gives to this server: one of an earlier run, or one that was taken while
    /// the keeper of an earlier term was there still, or for a request that nobody waited for. Also has the keepers look
    /// at what they are asked for, where they were not told.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn keep_all(&self) -> anyhow::Result<()> {
        let context = &self.0.context;
        // A row that is being made here has its keeper in a moment.
        let _nothing_begins = self.0.creating.acquire().await?;
        let tenure = context.replicas.tenure();
        let mut found = vec![];
        for row in row::kept(&context.db, &tenure).await? {
            match self.commands(SessionId(row.id)) {
                None => found.push(row),
                Some(commands) if row.end_asked.is_some() || row.keep_asked_at.is_some() => {
                    // Full: in the next round.
                    let _room = commands.try_send(Command::Asked);
                }
                Some(_) => {}
            }
        }
        let shown = self.shown(&found).await;
        for row in found {
            tracing::info!(session = %row.id, status = row.status, "session of an earlier run found");
            let told = shown.get(&row.id).map(String::as_str);
            self.keep_found(row, tenure.clone(), told);
        }
        Ok(())
    }

    /// One round: a keeper for every row that has not ended, an end for every sandbox without such a row and for
    /// sessions of users who were deactivated. The last two on one server only.
    ///
    /// # Errors
    /// When the database or the driver fails.
    pub async fn reconcile(&self) -> anyhow::Result<()> {
        let context = &self.0.context;
        if context.replicas.several() {
            self.take_all().await?;
        }
        self.keep_all().await?;
        let Some(chore) = context.replicas.begin_chore(&context.db, CHORE).await? else { return Ok(()) };
        // What follows may take long, and is right whoever does it: what has ended never comes back.
        chore.commit().await?;
        // In this order: a row is always made before its sandbox.
        let sandboxes = context.driver.list().await?;
        let rows = row::active(&context.db).await?;
        let strays: Vec<_> =
            sandboxes.into_iter().filter(|sandbox| rows.iter().all(|row| row.id != sandbox.0)).collect();
        for stray in strays {
            if self.commands(stray).is_none() {
                self.retire(stray);
            }
        }
        Ok(self.end_deactivated().await?)
    }

    /// Ends a sandbox that has no row: its row was removed, or ended when the sandbox could not be removed.
    fn retire(&self, session: SessionId) {
        if !self.retiring().insert(session) {
            return;
        }
        let (context, owner) = (self.0.context.clone(), std::sync::Arc::downgrade(&self.0));
        self.spawn(async move {
            let until = context.clock.now() + Rules::new(&context.settings).ending;
            tokio::select! {
                () = end_stray(&context, session) => {}
                () = context.clock.sleep_until(until) => {}
            }
            match context.driver.remove(session).await {
                Ok(()) => tracing::info!(%session, "a sandbox without a session was removed"),
                Err(error) => {
                    tracing::warn!(%session, error = format!("{error:#}"), "a sandbox could not be removed");
                }
            }
            if let Some(owner) = owner.upgrade() {
                owner.retiring.lock().unwrap_or_else(PoisonError::into_inner).remove(&session);
            }
        });
    }

    pub(super) fn retiring(&self) -> std::sync::MutexGuard<'_, std::collections::HashSet<SessionId>> {
        self.0.retiring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Its GIMP may hold work that nobody has saved: it goes through the stages like any other.
async fn end_stray(context: &std::sync::Arc<super::Context>, session: SessionId) {
    let agent = context.driver.agent(session);
    if agent.end(EndReason::Evicted).await.is_err() {
        return;
    }
    let mut said = Box::pin(keeper::follow(context.clone(), session));
    while let Some(said) = said.next().await {
        match said {
            Ok(report) if matches!(report.phase, AgentPhase::Ended { .. }) => return,
            Err(Silence::Unreachable) => return,
            Ok(_) | Err(Silence::Unresponsive) => {}
        }
    }
}
