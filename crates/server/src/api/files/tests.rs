//! Through the whole application, with a hostile session on the other side of the same folder.

mod browse;
mod content;
mod elsewhere;
mod full_disk;
mod thumbnails;
mod trash;
mod uploads;
mod versions;

use std::path::PathBuf;

use axum::body::Body;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::test_app::{Answer, Client, TestApp};

/// A user, and the folder as a session sees it.
pub(crate) struct Fixture {
    pub app: TestApp,
    pub user: Client,
    pub home: PathBuf,
}

impl Fixture {
    pub async fn new() -> Self {
        Self::on(TestApp::new().await).await
    }

    async fn on(app: TestApp) -> Self {
        let user = app.user("ada@example.org").await;
        let id = user.user.expect("made by the app");
        let home = app.app.driver.workspace(id, 0, 1 << 30).await.expect("a workspace").path;
        Self { app, user, home }
    }

    async fn list(&mut self, path: &str) -> Value {
        self.user.get(&format!("/api/v1/files?path={}", encode(path))).await.expect(200)
    }

    pub async fn names(&mut self, path: &str) -> Vec<String> {
        let listing = self.list(path).await;
        let entries = listing["entries"].as_array().expect("a list");
        entries.iter().map(|entry| entry["name"].as_str().expect("text").to_owned()).collect()
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.user.get(&format!("/api/v1/files/content?path={}", encode(path))).await
    }

    pub async fn trash(&mut self, path: &str) -> Answer {
        self.user.post("/api/v1/files/trash", json!({"path": path})).await
    }

    pub async fn begin(&mut self, path: &str, size: u64, overwrite: bool) -> Answer {
        self.user.post("/api/v1/files/uploads", json!({"path": path, "size": size, "overwrite": overwrite})).await
    }

    pub async fn begun(&mut self, path: &str, size: u64) -> String {
        let upload = self.begin(path, size, false).await.expect(201);
        assert_eq!(upload["offset"], 0);
        upload["id"].as_str().expect("an id").to_owned()
    }

    pub async fn part(&mut self, id: &str, offset: u64, bytes: impl Into<Body>) -> Answer {
        let request = self
            .user
            .request("PATCH", &format!("/api/v1/files/uploads/{id}"))
            .header("upload-offset", offset)
            .body(bytes.into())
            .expect("a request");
        self.user.send(request).await
    }

    async fn progress(&mut self, id: &str) -> Answer {
        let request =
            self.user.request("HEAD", &format!("/api/v1/files/uploads/{id}")).body(Body::empty()).expect("a request");
        self.user.send(request).await
    }

    pub async fn upload(&mut self, path: &str, bytes: &[u8]) -> Value {
        let id = self.begun(path, bytes.len() as u64).await;
        self.part(&id, 0, bytes.to_vec()).await.expect(201)
    }
}

fn encode(path: &str) -> String {
    utf8_percent_encode(path, NON_ALPHANUMERIC).to_string()
}
