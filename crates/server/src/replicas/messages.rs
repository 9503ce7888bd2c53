//! What servers tell each other, by PostgreSQL's LISTEN and NOTIFY: told with the commit of what it is about, there within
//! milliseconds, and nothing to ask for while nothing happens. Not stored: who was away looks at everything once.

use std::time::Duration;

use futures::Stream;
use sea_orm::sqlx::postgres::PgListener;
use sea_orm::{ConnectionTrait, DatabaseBackend, DatabaseConnection, DbErr, Statement};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ANSWER_LIMIT, Replicas, SILENCE_LIMIT};
use crate::ids::{SessionId, UserId};
use crate::session::lifecycle::Notice;

/// As in the migration's triggers. Names are of one database.
pub const CHANNEL: &str = "gimp_platform";
/// Until a lost connection is tried again.
const RETRY: Duration = Duration::from_millis(200);
/// PostgreSQL takes less than 8000 bytes.
const MAX_BYTES: usize = 7900;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Message {
    /// A session's row or report changed, or its row is gone. Told by the database itself.
    Session {
        id: SessionId,
        user: UserId,
        /// Its keeper is asked for something.
        asked: bool,
    },
    Notice {
        session: SessionId,
        user: UserId,
        notice: Notice,
    },
    /// This server lives.
    Alive(Uuid),
    /// A server is about to end: its sessions have no keeper.
    Left,
    /// Something may have been missed. Comes first, and whenever the connection was lost.
    #[serde(skip)]
    Missed,
}

pub(super) fn text(message: &Message) -> String {
    serde_json::to_string(message).unwrap_or_default()
}

impl Replicas {
    /// Tells the other servers, and this one, by a connection of `db`.
    ///
    /// # Errors
    /// Of the database.
    pub async fn tell(&self, db: &DatabaseConnection, message: &Message) -> Result<(), DbErr> {
        if !self.several() {
            return Ok(());
        }
        let text = text(message);
        if text.len() > MAX_BYTES {
            return Err(DbErr::Custom("the message is too long".to_owned()));
        }
        let tell = Statement::from_sql_and_values(
            DatabaseBackend::Postgres,
            format!("SELECT pg_notify('{CHANNEL}', $1)"),
            [text.into()],
        );
        db.query_one_raw(tell).await.map(drop)
    }

    /// What servers tell, this one too, for ever; nothing where there is one. Messages of a newer version are left out.
    pub fn messages(&self) -> impl Stream<Item = Message> + Send + use<> {
        let listening = Listening { replicas: self.clone(), listener: None, failing: false };
        futures::stream::unfold(listening, |mut listening| async move {
            let message = listening.next().await?;
            Some((message, listening))
        })
    }
}

struct Listening {
    replicas: Replicas,
    listener: Option<PgListener>,
    failing: bool,
}

impl Listening {
    async fn next(&mut self) -> Option<Message> {
        let url = self.replicas.0.several.as_ref()?.url.clone();
        loop {
            let heard = match &mut self.listener {
                // This server's own sign of life comes each second: a connection without it is dead, whatever TCP says.
                Some(listener) => match tokio::time::timeout(SILENCE_LIMIT, listener.try_recv()).await {
                    Ok(Ok(Some(heard))) => heard,
                    // Lost, and who knows what was told meanwhile.
                    Ok(Ok(None) | Err(_)) | Err(_) => {
                        self.listener = None;
                        continue;
                    }
                },
                None => match listen(&url).await {
                    Ok(listener) => {
                        self.listener = Some(listener);
                        // To hear it: whoever waits until this server is ready need not wait for the next.
                        let db = self.replicas.0.several.as_ref()?.db();
                        let alive = Message::Alive(self.replicas.0.id);
                        let told = tokio::time::timeout(ANSWER_LIMIT, self.replicas.tell(&db, &alive)).await;
                        if !matches!(told, Ok(Ok(()))) {
                            tracing::debug!("the sign of life comes a little later");
                        }
                        if std::mem::take(&mut self.failing) {
                            tracing::info!("this server hears the others again");
                        }
                        return Some(Message::Missed);
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut self.failing, true) {
                            tracing::warn!(%error, "this server does not hear the others; trying again");
                        }
                        tokio::time::sleep(RETRY).await;
                        continue;
                    }
                },
            };
            match serde_json::from_str(heard.payload()) {
                Ok(Message::Alive(server)) => self.replicas.heard(server),
                Ok(message) => return Some(message),
                Err(error) => tracing::debug!(%error, "a message can't be read"),
            }
        }
    }
}

async fn listen(url: &str) -> Result<PgListener, sea_orm::sqlx::Error> {
    let listening = tokio::time::timeout(SILENCE_LIMIT, async {
        let mut listener = PgListener::connect(url).await?;
        listener.listen(CHANNEL).await?;
        Ok(listener)
    });
    listening.await.unwrap_or(Err(sea_orm::sqlx::Error::PoolTimedOut))
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::session::lifecycle::NoticeKind;

    #[test]
    fn messages_of_the_database_and_our_own_can_be_read() {
        let (id, user) = (SessionId::new(), UserId::new());
        let told = format!(r#"{{"session" : {{"id" : "{id}", "user" : "{user}", "asked" : true}}}}"#);
        assert_eq!(serde_json::from_str::<Message>(&told).unwrap(), Message::Session { id, user, asked: true });
        let notice = Notice { kind: NoticeKind::Idle, detail: "words ".repeat(100), at: OffsetDateTime::UNIX_EPOCH };
        for message in [Message::Alive(Uuid::new_v4()), Message::Left, Message::Notice { session: id, user, notice }] {
            let text = text(&message);
            assert!(text.len() < MAX_BYTES);
            assert_eq!(serde_json::from_str::<Message>(&text).unwrap(), message);
        }
        assert!(serde_json::from_str::<Message>(r#"{"ofTheFuture": 1}"#).is_err());
    }
}
