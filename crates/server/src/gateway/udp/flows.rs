//! Which browser's end belongs to which session: the one list that datagrams go by, both ways. Bounded, no I/O, no clock.

use std::collections::HashMap;
use std::hash::RandomState;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lru::LruCache;
use protocol::media::{Remote, Transport};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::ids::SessionId;

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Ends of all sessions.
    pub total: usize,
    /// Ends of one session: each viewer tries several paths by each transport and stays on one.
    pub per_session: usize,
    /// An end that was silent so long is forgotten. A browser checks its path every five seconds, and one that no longer
    /// does no longer consents to be sent anything (RFC 7675 section 5.1).
    pub idle: Duration,
    /// An end that was silent so long makes room for another where there is none.
    pub replaceable: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { total: 16_384, per_session: 96, idle: seconds(30), replaceable: seconds(10) }
    }
}

/// How an end is reached.
#[derive(Debug, Clone)]
pub enum Route {
    Udp {
        to: SocketAddr,
        /// Our address that it knows; None: the kernel's choice.
        from: Option<IpAddr>,
    },
    /// To its connection, which ends when this is dropped: keep it nowhere else.
    Tcp(mpsc::Sender<Bytes>),
}

#[derive(Debug)]
struct Flow {
    session: SessionId,
    route: Route,
    /// When its end was last heard.
    heard: Instant,
}

/// What a session's flows share: `L` is dropped with the last of them.
#[derive(Debug)]
struct Group<L> {
    link: Arc<L>,
    ends: Vec<Remote>,
}

/// There is no room, and nobody silent enough to make some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

#[derive(Debug)]
pub struct Flows<L> {
    limits: Limits,
    /// The one heard last is first.
    flows: LruCache<Remote, Flow, RandomState>,
    groups: HashMap<SessionId, Group<L>>,
}

impl<L> Flows<L> {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        // Bounded by `open`, which has its own mind about who goes.
        Self { limits, flows: LruCache::unbounded_with_hasher(RandomState::new()), groups: HashMap::new() }
    }

    /// How many ends there are by a transport.
    #[must_use]
    pub fn count(&self, transport: Transport) -> usize {
        self.flows.iter().filter(|(end, _)| end.transport() == transport).count()
    }

    /// The session an end belongs to, which it was heard of now.
    pub fn hear(&mut self, end: &Remote, now: Instant) -> Option<(SessionId, Arc<L>)> {
        let flow = self.flows.get_mut(end)?;
        let silent = now.saturating_duration_since(flow.heard);
        let session = flow.session;
        if silent >= self.limits.idle {
            self.close(end);
            return None;
        }
        flow.heard = now;
        Some((session, self.groups.get(&session)?.link.clone()))
    }

    /// How `session` reaches an end; None: it may not.
    #[must_use]
    pub fn route(&self, session: SessionId, end: &Remote, now: Instant) -> Option<Route> {
        let flow = self.flows.peek(end)?;
        let allowed = flow.session == session && now.saturating_duration_since(flow.heard) < self.limits.idle;
        allowed.then(|| flow.route.clone())
    }

    /// The link of a session that has flows.
    #[must_use]
    pub fn link(&self, session: SessionId) -> Option<Arc<L>> {
        self.groups.get(&session).map(|group| group.link.clone())
    }

    /// Begins a flow, in place of one that the end belongs to. `link` is used if the session has none.
    ///
    /// # Errors
    /// When there is no room.
    pub fn open(
        &mut self,
        end: Remote,
        session: SessionId,
        link: &Arc<L>,
        route: Route,
        now: Instant,
    ) -> Result<(), Full> {
        self.close(&end);
        let ends = self.groups.get(&session).map(|group| group.ends.as_slice()).unwrap_or_default();
        if ends.len() >= self.limits.per_session {
            let heard = |end: &Remote| self.flows.peek(end).map(|flow| flow.heard);
            let longest_silent = ends.iter().copied().min_by_key(heard);
            self.make_room(longest_silent, now)?;
        }
        if self.flows.len() >= self.limits.total {
            self.make_room(self.flows.peek_lru().map(|(end, _)| *end), now)?;
        }
        self.flows.put(end, Flow { session, route, heard: now });
        self.groups.entry(session).or_insert_with(|| Group { link: link.clone(), ends: vec![] }).ends.push(end);
        Ok(())
    }

    /// Forgets who was silent for too long, and sessions of which `over` is so.
    pub fn sweep(&mut self, now: Instant, over: impl Fn(SessionId, &L) -> bool) {
        while let Some((end, flow)) = self.flows.peek_lru()
            && now.saturating_duration_since(flow.heard) >= self.limits.idle
        {
            let end = *end;
            self.close(&end);
        }
        let over: Vec<_> =
            self.groups.iter().filter(|(session, group)| over(**session, &group.link)).map(|(id, _)| *id).collect();
        over.into_iter().for_each(|session| self.close_session(session));
    }

    /// Forgets an end whose connection is gone, if it has no new one.
    pub fn hang_up(&mut self, end: &Remote) {
        let gone = |flow: &Flow| matches!(&flow.route, Route::Tcp(connection) if connection.is_closed());
        if self.flows.peek(end).is_some_and(gone) {
            self.close(end);
        }
    }

    /// Forgets all of a session.
    pub fn close_session(&mut self, session: SessionId) {
        for end in self.groups.remove(&session).into_iter().flat_map(|group| group.ends) {
            self.flows.pop(&end);
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.flows.clear();
        self.groups.clear();
    }

    fn make_room(&mut self, end: Option<Remote>, now: Instant) -> Result<(), Full> {
        let end = end.ok_or(Full)?;
        let heard = self.flows.peek(&end).map(|flow| flow.heard).ok_or(Full)?;
        if now.saturating_duration_since(heard) < self.limits.replaceable {
            return Err(Full);
        }
        self.close(&end);
        Ok(())
    }

    fn close(&mut self, end: &Remote) {
        let Some(flow) = self.flows.pop(end) else { return };
        if let Some(group) = self.groups.get_mut(&flow.session) {
            group.ends.retain(|other| other != end);
            if group.ends.is_empty() {
                self.groups.remove(&flow.session);
            }
        }
    }
}

#[cfg(test)]
mod tests;
