//! The whole application for tests: temporary data directory, `fake` driver, a database of its own, a clock that tests
//! move, and a client that speaks to it in memory (`TestApp::client`) or over TCP (`TestApp::listen`).
//!
//! `TEST_DATABASE=postgres` runs the same tests on PostgreSQL. An ERROR in the log fails the test that is running, as
//! does a panic in a background task. Run with `cargo nextest`: one process a test keeps logs apart.

// The harness offers more than every build of the tests uses.
#![allow(dead_code, unused_imports)]

mod client;
mod log;
mod postgres;

pub(crate) use client::{Answer, Client};
pub(crate) use postgres::{Cluster, TestDatabase};

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use sea_orm::{ActiveModelTrait, ActiveValue::Set};
use time::Duration;

use crate::auth::current::Role;
use crate::auth::token;
use crate::clock::Clock;
use crate::config::{DriverKind, Secret, Settings, UdpListen};
use crate::db::entity;
use crate::driver::Driver;
use crate::ids::{SignInId, UserId};
use crate::serve::Sockets;
use crate::state::App;

/// One application. Fields are what handlers get, so tests can look behind the API.
pub(crate) struct TestApp {
    pub app: App,
    pub clock: Clock,
    router: axum::Router,
    errors_allowed: bool,
    // Last: removed after everything that uses them.
    _database: Option<postgres::TestDatabase>,
    data: tempfile::TempDir,
}

impl TestApp {
    /// The application with settings for tests.
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// The same after `change`.
    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        log::capture();
        Self::on(postgres::TestDatabase::create().await, change).await
    }

    /// On PostgreSQL, whatever the others run on.
    pub async fn on_postgres() -> Self {
        log::capture();
        Self::on(Some(postgres::TestDatabase::on_postgres().await), |_| {}).await
    }

    /// On a PostgreSQL that can be stopped and started.
    pub async fn on(database: Option<postgres::TestDatabase>, change: impl FnOnce(&mut Settings)) -> Self {
        log::capture();
        let data = tempfile::Builder::new().prefix("gimp-platform-test-").tempdir().expect("a temporary folder");
        let mut settings = Settings {
            data_dir: data.path().to_owned(),
            database_url: database.as_ref().map(|database| Secret::new(database.url())),
            driver: DriverKind::Fake,
            metrics_listen: None,
            // The least bcrypt can do.
            bcrypt_cost: 4,
            ..Settings::default()
        };
        change(&mut settings);
        let clock = Clock::default();
        let app = App::open(settings, clock.clone()).await.expect("the application opens");
        app.replicas.join().await.expect("there is no other server");
        app.start();
        let router = crate::api::router(app.clone());
        Self { app, clock, router, errors_allowed: false, _database: database, data }
    }

    /// Another server on the same database, whose driver reaches the same sessions. To be dropped first.
    pub async fn beside(&self) -> Self {
        let data = tempfile::Builder::new().prefix("gimp-platform-test-").tempdir().expect("a temporary folder");
        let settings = Settings { data_dir: data.path().to_owned(), ..(*self.app.settings).clone() };
        let driver = match &*self.app.driver {
            Driver::Fake(fake) => Arc::new(Driver::Fake(fake.beside())),
            _ => self.app.driver.clone(),
        };
        let opened = App::open_with(settings, self.clock.clone(), driver).await;
        let app = opened.expect("the application opens");
        app.replicas.join().await.expect("may be beside the other");
        app.start();
        let router = crate::api::router(app.clone());
        Self { app, clock: self.clock.clone(), router, errors_allowed: false, _database: None, data }
    }

    /// The same user here.
    pub fn same_user(&self, client: &Client) -> Client {
        let mut here = self.client();
        here.user = client.user;
        here.set_bearer(client.bearer().expect("signed in"));
        here
    }

    /// Waits until the driver is prepared.
    pub async fn prepared(&self) {
        self.app.preparation.finished().await;
    }

    /// For tests that provoke an internal error.
    pub fn allow_errors(&mut self) {
        self.errors_allowed = true;
    }

    /// Nobody, in front of other routes than the application's.
    pub fn client_of(&self, router: axum::Router) -> Client {
        Client::new(router)
    }

    /// Every line the application logged so far, in this process.
    pub fn log(&self) -> String {
        log::text()
    }

    /// Nobody: no cookies, no token.
    pub fn client(&self) -> Client {
        Client::new(self.router.clone())
    }

    /// A new user, signed in with a bearer token. Made behind the API: quick, and independent of registration's rules.
    pub async fn user(&self, email: &str) -> Client {
        self.sign_in(email, Role::User).await
    }

    /// The same with role `admin`.
    pub async fn admin(&self, email: &str) -> Client {
        self.sign_in(email, Role::Admin).await
    }

    async fn sign_in(&self, email: &str, role: Role) -> Client {
        let now = self.clock.now();
        let user = UserId::new();
        entity::user::ActiveModel {
            id: Set(user.0),
            email: Set(email.to_owned()),
            password_hash: Set(bcrypt::hash(PASSWORD, 4).expect("bcrypt")),
            first_name: Set(None),
            last_name: Set(None),
            role: Set(role.as_str().to_owned()),
            created_at: Set(now),
            updated_at: Set(now),
            is_active: Set(true),
            last_sign_in_at: Set(Some(now)),
            uid_offset: Set(None),
        }
        .insert(&self.app.db)
        .await
        .expect("a user");
        let sign_in = SignInId::new();
        entity::sign_in::ActiveModel {
            id: Set(sign_in.0),
            user_id: Set(user.0),
            created_at: Set(now),
            last_used_at: Set(now),
            revoked_at: Set(None),
            address: Set("127.0.0.1".to_owned()),
            user_agent: Set(None),
        }
        .insert(&self.app.db)
        .await
        .expect("a sign-in");
        let access = token::generate().expect("randomness");
        entity::token::ActiveModel {
            hash: Set(token::hash(&access)),
            sign_in_id: Set(sign_in.0),
            kind: Set("access".to_owned()),
            // Long, so that tests can move the clock without signing in again.
            expires_at: Set(now + Duration::days(365)),
            used_at: Set(None),
        }
        .insert(&self.app.db)
        .await
        .expect("a token");
        let mut client = self.client();
        client.user = Some(user);
        client.set_bearer(&access);
        client
    }

    /// Serves on a TCP port and a UDP port of 127.0.0.1 as well, for WebSockets, event streams and WebRTC. Ends with the
    /// test.
    pub async fn listen(&self) -> SocketAddr {
        self.listen_with_udp(UdpListen::At(ANY_PORT)).await
    }

    /// The same with another UDP port, or none.
    pub async fn listen_with_udp(&self, udp: UdpListen) -> SocketAddr {
        let mut settings = Settings { listen: ANY_PORT, udp_listen: Some(udp), ..(*self.app.settings).clone() };
        let sockets = Sockets::bind(&mut settings).await.expect("a port");
        crate::serve::start(self.app.clone(), sockets).expect("serves");
        settings.listen
    }
}

const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Password of `TestApp::user`.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

impl TestApp {
    /// What can't be removed is still used: a mount, or a task that goes on writing.
    fn remove_data(&self) {
        let path = self.data.path();
        let removed = (0..100).any(|_| {
            let done = std::fs::remove_dir_all(path).is_ok();
            if !done {
                // Tasks on other threads may be writing their last file.
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            done
        });
        assert!(removed, "something is left in {}", path.display());
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.app.background.cancel();
        if !std::thread::panicking() && !self.errors_allowed {
            let errors = log::errors();
            assert!(errors.is_empty(), "errors in the log:\n{}", errors.join("\n"));
            self.remove_data();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_error_in_the_log_fails_the_test() {
        let app = TestApp::new().await;
        tracing::error!("provoked");
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(app)));
        log::forget();
        let message = *result.expect_err("fails").downcast::<String>().expect("text");
        assert!(message.contains("provoked"), "{message}");
    }

    #[tokio::test]
    async fn a_panic_in_a_background_task_fails_the_test() {
        let app = TestApp::new().await;
        let (held, dropped) = tokio::sync::oneshot::channel::<()>();
        app.app.background.spawn(async {
            let _held = held;
            panic!("in the background")
        });
        dropped.await.expect_err("the panic drops it");
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(app)));
        log::forget();
        let message = *result.expect_err("fails").downcast::<String>().expect("text");
        assert!(message.contains("in the background"), "{message}");
    }

    #[tokio::test]
    async fn answers_in_memory_and_over_tcp() {
        let app = TestApp::new().await;
        assert_eq!(app.client().get("/healthz").await.status(), 200);
        let address = app.listen().await;
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /healthz HTTP/1.0\r\n\r\n").await.unwrap();
        let mut text = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.0 200"), "{text}");
    }

    #[tokio::test]
    async fn users_are_signed_in() {
        use crate::auth::current::CurrentUser;
        use axum::extract::FromRequestParts;
        let app = TestApp::new().await;
        let client = app.admin("ada@example.org").await;
        let (mut parts, ()) = client.request("GET", "/").body(()).unwrap().into_parts();
        let user = CurrentUser::from_request_parts(&mut parts, &app.app).await.unwrap();
        assert_eq!((user.id, user.role), (client.user.unwrap(), Role::Admin));
    }
}
