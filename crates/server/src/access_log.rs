//! The access log: who asked for what, in table `access_log`. One background task writes rows in batches; requests
//! never wait for it. Routes are templates, so that no file name and no id gets in.

use std::time::Duration;

use sea_orm::{ActiveValue::Set, DatabaseConnection, EntityTrait};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::db::entity::access_entry;

/// Rows that may wait. When full, further rows are dropped and counted: answers matter more than their log.
const QUEUE: usize = 2048;
/// Rows of one statement. 9 columns each; SQLite allows 32766 variables.
const BATCH: usize = 500;
/// How long the first row of a batch waits for more.
const LINGER: Duration = Duration::from_secs(1);

/// Takes rows. Cheap to clone.
#[derive(Clone)]
pub struct AccessLog {
    rows: mpsc::Sender<Message>,
}

enum Message {
    Row(access_entry::Model),
    Flush(oneshot::Sender<()>),
}

impl AccessLog {
    /// The log and the task that writes it, which ends once `ending` is cancelled and everything is written.
    pub fn new(db: DatabaseConnection, ending: CancellationToken) -> (Self, impl Future<Output = ()> + Send) {
        let (rows, queue) = mpsc::channel(QUEUE);
        (Self { rows }, write(db, queue, ending))
    }

    pub fn record(&self, row: access_entry::Model) {
        if self.rows.try_send(Message::Row(row)).is_err() {
            metrics::counter!("gimp_platform_access_log_dropped_total").increment(1);
        }
    }

    /// Waits until everything recorded so far is in the database, or given up on.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.rows.send(Message::Flush(done)).await.is_ok() {
            let _ = written.await;
        }
    }
}

async fn write(db: DatabaseConnection, mut queue: mpsc::Receiver<Message>, ending: CancellationToken) {
    loop {
        let first = tokio::select! {
            message = queue.recv() => message,
            () = ending.cancelled() => { queue.close(); queue.recv().await }
        };
        let Some(first) = first else { return };
        let mut batch = Batch::default();
        batch.take(first);
        let linger = tokio::time::sleep(LINGER);
        tokio::pin!(linger);
        while batch.wants_more() {
            tokio::select! {
                message = queue.recv() => match message {
                    Some(message) => batch.take(message),
                    None => break,
                },
                () = &mut linger => break,
                () = ending.cancelled(), if !queue.is_closed() => queue.close(),
            }
        }
        batch.write(&db).await;
    }
}

#[derive(Default)]
struct Batch {
    rows: Vec<access_entry::ActiveModel>,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Batch {
    fn take(&mut self, message: Message) {
        match message {
            Message::Row(row) => self.rows.push(access_entry::ActiveModel {
                id: Set(row.id),
                at: Set(row.at),
                method: Set(row.method),
                route: Set(row.route),
                status: Set(row.status),
                duration_ms: Set(row.duration_ms),
                user_id: Set(row.user_id),
                address: Set(row.address),
                request_id: Set(row.request_id),
            }),
            Message::Flush(done) => self.waiting.push(done),
        }
    }

    fn wants_more(&self) -> bool {
        self.rows.len() < BATCH && self.waiting.is_empty()
    }

    async fn write(self, db: &DatabaseConnection) {
        if !self.rows.is_empty() {
            let count = self.rows.len();
            if let Err(error) = access_entry::Entity::insert_many(self.rows).exec_without_returning(db).await {
                metrics::counter!("gimp_platform_access_log_dropped_total").increment(count as u64);
                tracing::warn!(%error, rows = count, "rows of the access log are lost");
            }
        }
        for done in self.waiting {
            let _ = done.send(());
        }
    }
}
