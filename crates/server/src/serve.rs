//! `gimp-platform serve`: listens, answers, ends in order.
//!
//! Ending by SIGTERM: sessions go to the other servers at once, where there are any, and for `drain_seconds` requests are
//! still answered, while load balancers see that this server is not ready. Then no new connections, long answers are cut so that browsers connect elsewhere, other requests may
//! finish, background work is written down. Sessions live on and are found again at the next start. SIGHUP without TLS
//! (the terminal was closed) does the same; with TLS it means to read the certificate again. SIGINT (Ctrl-C)
//! ends the sessions first, each through its planned end; a second one leaves at once and leaves them running.

mod ice_tcp;
mod listener;
mod metrics_page;
mod prompt;
mod signals;
pub mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use axum_server::accept::{Accept, DefaultAcceptor};
use axum_server::tls_rustls::RustlsAcceptor;
use axum_server::{Handle, Server};
use hyper_util::rt::TokioTimer;
use protocol::session::EndReason;
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};
use tokio::net::TcpListener;

use crate::api::client_address::Ends;
use crate::clock::Clock;
use crate::config::{Settings, TlsMode};
use crate::gateway::udp::{Port, State};
use crate::state::App;
use ice_tcp::IceTcp;
use listener::{Listener, Peer};
use prompt::Prompt;
use signals::{Ending, Signals};

/// Longest time for a connection's first byte, for a TLS handshake and for a request's headers.
const HEADERS_LIMIT: Duration = Duration::from_secs(10);
/// How long requests may take to finish when the server ends.
const GRACE: Duration = Duration::from_secs(10);
/// How long sessions may take to end by themselves: the stages of a planned end have 60 s together.
const SESSIONS_LIMIT: Duration = Duration::from_secs(75);
/// How often an HTTP/2 connection is asked whether it lives.
const PING_EVERY: Duration = Duration::from_secs(30);

/// Serves until SIGTERM or SIGINT. Prints the URL to standard output when ready.
///
/// # Errors
/// When an address can't be listened on, the certificate not be used, or another server has the data directory.
pub async fn serve(mut settings: Settings) -> anyhow::Result<()> {
    let mut signals = Signals::new(settings.tls).context("can't watch for signals")?;
    let sockets = Sockets::bind(&mut settings).await?;
    // Before the database is touched: a second server must not migrate it under the first one.
    crate::data_dir::prepare(&settings.data_dir)?;
    let _lock = crate::data_dir::lock(&settings)?;
    let app = App::open(settings, Clock::default()).await?;
    app.replicas.join().await?;
    let server = start(app.clone(), sockets)?;
    app.start();
    say(&greeting(&app.settings, app.media.state()));
    let ending = signals.ending().await;
    signals.leave_at_once_on_interrupt();
    match ending {
        Ending::KeepSessions => hand_over(&app).await,
        Ending::EndSessions if app.replicas.others().await.unwrap_or_default() => {
            say("Other servers look after the sessions from now on.");
            hand_over(&app).await;
        }
        Ending::EndSessions => end_sessions(&app).await,
    }
    server.end().await
}

/// From now on the sessions are other servers', or wait for the next start. New requests are answered until nobody sends
/// them here any more.
async fn hand_over(app: &App) {
    tracing::info!("ending; sessions go on");
    app.background.leave();
    app.sessions.leave();
    app.replicas.leave().await;
    tokio::time::sleep(Duration::from_secs(app.settings.drain_seconds.into())).await;
}

/// Ends all sessions while their users still see it.
async fn end_sessions(app: &App) {
    use crate::db::entity::session::{Column, Entity};
    let running = Entity::find().filter(Column::EndedAt.is_null()).count(&app.db).await.unwrap_or_default();
    if running == 0 {
        return;
    }
    say(&format!("Ending {running} sessions and saving what is open. Press Ctrl-C again to leave them running."));
    match app.sessions.end_all(EndReason::Evicted, SESSIONS_LIMIT).await {
        0 => say("All sessions have ended."),
        left => say(&format!("{left} sessions did not end in time; they are found again at the next start.")),
    }
}

/// What is listened on. Bound before anything else is touched.
pub struct Sockets {
    web: TcpListener,
    metrics: Option<TcpListener>,
    /// None: switched off. Without it WebRTC goes by TCP, so that a failure does not stop the server.
    udp: Result<Option<Port>, String>,
}

impl Sockets {
    /// Puts the addresses that were really bound into the settings: port 0 asks for any free one.
    ///
    /// # Errors
    /// When an address can't be listened on.
    pub async fn bind(settings: &mut Settings) -> anyhow::Result<Self> {
        let web = bind(&mut settings.listen, "listen").await?;
        let metrics = match &mut settings.metrics_listen {
            Some(address) => Some(bind(address, "metrics_listen").await?),
            None => None,
        };
        let udp = match settings.udp_address() {
            Some(address) => match Port::bind(address).await {
                Ok(port) => Ok(Some(port)),
                Err(error) => Err(format!("UDP {address}: {error}")),
            },
            None => Ok(None),
        };
        Ok(Self { web, metrics, udp })
    }
}

async fn bind(address: &mut SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(*address).await.with_context(|| {
        format!("can't listen on {address}; choose another address with the setting `{key}` or end what listens there")
    })?;
    *address = listener.local_addr()?;
    Ok(listener)
}

/// A server that answers.
pub struct Running {
    app: App,
    handle: Handle<Peer>,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
}

/// Begins to answer.
///
/// # Errors
/// When the certificate can't be used.
pub fn start(app: App, sockets: Sockets) -> anyhow::Result<Running> {
    allow_many_files();
    let certificate = tls::certificate(&app.settings)?;
    if let Some(listener) = sockets.metrics {
        tracing::info!("metrics are at http://{}/metrics", listener.local_addr()?);
        app.background.spawn(metrics_page::serve(listener));
    }
    app.media.start(&app, sockets.web.local_addr()?, sockets.udp);
    if let State::Failed(why) = app.media.state() {
        tracing::warn!("there is no UDP port, WebRTC goes by TCP only: {why}");
    }
    let handle = Handle::new();
    let listener = Listener::new(sockets.web, app.settings.max_connections);
    let service = crate::api::router(app.clone()).into_make_service_with_connect_info::<Ends>();
    let server = Server::<Peer>::from_listener(listener).handle(handle.clone());
    let serving = match certificate {
        Some(certificate) => {
            let config = certificate.config()?;
            app.background.spawn(certificate.keep_fresh(config.clone()));
            let acceptor = Prompt::new(RustlsAcceptor::new(config).handshake_timeout(HEADERS_LIMIT), HEADERS_LIMIT);
            tokio::spawn(run(server.acceptor(IceTcp::new(acceptor, HEADERS_LIMIT, &app)), service))
        }
        None => {
            let acceptor = Prompt::new(DefaultAcceptor::new(), HEADERS_LIMIT);
            tokio::spawn(run(server.acceptor(IceTcp::new(acceptor, HEADERS_LIMIT, &app)), service))
        }
    };
    Ok(Running { app, handle, serving })
}

impl Running {
    /// Ends in order; sessions live on.
    ///
    /// # Errors
    /// When serving had failed.
    pub async fn end(self) -> anyhow::Result<()> {
        self.app.background.close();
        self.handle.graceful_shutdown(Some(GRACE));
        self.serving.await.context("the server panicked")??;
        self.app.background.end().await;
        // After an end of all sessions; harmless else.
        self.app.replicas.leave().await;
        self.app.replicas.close().await;
        if let Err(error) = self.app.driver.release().await {
            tracing::warn!("workspaces stay mounted: {error:#}");
        }
        self.app.db.close().await.context("the database could not be closed")
    }
}

type Service = IntoMakeServiceWithConnectInfo<Router, Ends>;

async fn run<A>(mut server: Server<Peer, A>, service: Service) -> std::io::Result<()>
where
    A: Accept<listener::Connection, axum::middleware::AddExtension<Router, axum::extract::ConnectInfo<Ends>>>
        + Clone
        + Send
        + Sync
        + 'static,
    A::Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send,
    A::Service: axum_server::service::SendService<axum::http::Request<hyper::body::Incoming>> + Send,
    A::Future: Send,
{
    let builder = server.http_builder();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_LIMIT);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING_EVERY).keep_alive_timeout(HEADERS_LIMIT);
    server.serve(service).await
}

/// To the person who started the server, at once and in one piece. Nobody may be there to read it.
fn say(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush());
}

/// What is said when the server is ready.
fn greeting(settings: &Settings, udp: &State) -> String {
    let mut text = format!("GIMP Streaming Platform is ready: {}", settings.public_url());
    if let State::Failed(why) = udp {
        text.push_str(&format!("\nThere is no UDP port, WebRTC goes by TCP only: {why}. See the setting udp_listen."));
    }
    if settings.tls == TlsMode::SelfSigned {
        text.push_str("\nThe certificate is self-signed: browsers warn before they show the first page.");
    }
    if !settings.listen.ip().is_loopback() && !settings.is_secure() {
        text.push_str(
            "\nWarning: others can reach this address and nothing encrypts the connection. Passwords and cookies can be \
             read on the way. Set tls, or put a proxy with TLS in front and set public_url.",
        );
    }
    text
}

/// Each connection is an open file, and the usual soft limit of 1024 is small.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
}
