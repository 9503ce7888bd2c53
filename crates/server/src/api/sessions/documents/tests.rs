use protocol::agent::Document;
use serde_json::{Value, json};

use crate::driver::fake::FakeAgent;
use crate::session::testing::{end_of, fake, start, started, until};
use crate::test_app::{Client, TestApp};

const SESSIONS: &str = "/api/v1/sessions";

fn document(id: &str, name: &str, file: Option<&str>) -> Document {
    Document {
        id: id.into(),
        name: name.into(),
        file: file.map(str::to_owned),
        width: 320,
        height: 200,
        layers: 1,
        dirty: true,
        dirty_since: Some("2026-01-01T00:00:00Z".into()),
        last_copied: None,
        recovery: None,
        copy_failed: None,
    }
}

/// Ada's running session with these open, its documents' address and its agent.
async fn with_documents(
    app: &TestApp,
    ada: &mut Client,
    documents: Vec<Document>,
) -> (String, String, std::sync::Arc<FakeAgent>) {
    let (id, session) = started(app, ada).await;
    let agent = fake(app).session(session).expect("it runs");
    let wanted = documents.len();
    agent.set_documents(documents);
    until(app, ada, &id, |session| session["documents"].as_array().is_some_and(|open| open.len() == wanted)).await;
    (id.clone(), format!("{SESSIONS}/{id}/documents"), agent)
}

async fn upload(ada: &mut Client, path: &str, bytes: &str) {
    let upload = ada.post("/api/v1/files/uploads", json!({"path": path, "size": bytes.len()})).await.expect(201);
    let address = format!("/api/v1/files/uploads/{}", upload["id"].as_str().unwrap());
    let request = ada.request("PATCH", &address).header("upload-offset", "0");
    let request = request.header("content-type", "application/offset+octet-stream");
    ada.send(request.body(bytes.to_owned().into()).unwrap()).await.expect(201);
}

#[tokio::test]
async fn documents_are_listed_saved_and_then_saved() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let (id, documents, _agent) = with_documents(&app, &mut ada, vec![document("7-1", "Untitled", None)]).await;
    let listed = ada.get(&documents).await.expect(200);
    assert_eq!((&listed["documents"][0]["id"], &listed["unavailable"]), (&json!("7-1"), &json!(null)));

    let save = format!("{documents}/7-1/save");
    let problem = ada.post(&save, json!({})).await.expect_problem(422, "document.noFile");
    assert!(problem["detail"].as_str().unwrap().contains(".xcf"), "{problem}");
    for path in ["../a.xcf", "/a.xcf", "", ".gimp-platform/a.xcf"] {
        ada.post(&save, json!({"path": path})).await.expect_problem(422, "invalid");
    }
    ada.post(&save, json!({"path": "none/a.xcf"})).await.expect_problem(404, "files.noFolder");
    let written = ada.post(&save, json!({"path": "a.xcf"})).await.expect(200);
    assert_eq!(written, json!({"path": "a.xcf", "size": 18}));
    ada.get("/api/v1/files/content?path=a.xcf").await.expect_text(200, "gimp xcf pretended");
    until(&app, &mut ada, &id, |session| session["documents"][0]["dirty"] == false).await;

    upload(&mut ada, "b.xcf", "mine").await;
    ada.post(&save, json!({"path": "b.xcf"})).await.expect_problem(409, "files.exists");
    ada.post(&save, json!({"path": "b.xcf", "replace": true})).await.expect(200);
    let request = ada.request("POST", &save).body(axum::body::Body::empty()).unwrap();
    assert_eq!(ada.send(request).await.expect(200)["path"], "b.xcf", "its own file, and no body is needed");
    for unknown in ["7-2", "x", "%2e%2e", "7-1%00"] {
        ada.post(&format!("{documents}/{unknown}/save"), json!({})).await.expect_problem(404, "document.notFound");
    }
}

#[tokio::test]
async fn exports_are_downloads_or_files() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let (_, documents, _agent) =
        with_documents(&app, &mut ada, vec![document("7-1", "Käse.xcf", Some("Käse.xcf"))]).await;
    let export = format!("{documents}/7-1/export");
    let answer = ada.post(&export, json!({"format": "jpeg", "quality": 80, "scale": 50})).await;
    assert_eq!((answer.status(), answer.text()), (200, "Käse.xcf as Jpeg, Some(80), Some(50)"));
    assert_eq!(answer.header("content-type"), Some("image/jpeg"), "whatever the agent calls it");
    assert_eq!(
        answer.header("content-disposition"),
        Some("attachment; filename=\"K_se.jpg\"; filename*=UTF-8''K%C3%A4se.jpg")
    );
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("content-length"), Some(answer.text().len().to_string().as_str()));

    let wish = json!({"format": "png", "path": "out.png"});
    assert_eq!(ada.post(&export, wish.clone()).await.expect(200)["path"], "out.png");
    ada.post(&export, wish).await.expect_problem(409, "files.exists");
    for bad in [json!({"format": "png", "scale": 201}), json!({"format": "jpeg", "quality": 0})] {
        ada.post(&export, bad).await.expect_problem(422, "invalid");
    }
    ada.post(&export, json!({"format": "bmp"})).await.expect_problem(422, "malformed");
    ada.post(&export, json!({"format": "png", "path": "../out.png"})).await.expect_problem(422, "invalid");

    let small = ada.get(&format!("{documents}/7-1/thumbnail?size=64")).await;
    assert_eq!((small.status(), small.header("content-type")), (200, Some("image/png")));
    ada.get(&format!("{documents}/7-1/thumbnail?size=4000")).await.expect_problem(422, "invalid");
    ada.get(&format!("{documents}/7-9/thumbnail")).await.expect_problem(404, "document.notFound");
}

#[tokio::test]
async fn files_open_as_images_or_as_layers() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let two = vec![document("7-1", "a", None), document("7-2", "b", None)];
    let (id, documents, agent) = with_documents(&app, &mut ada, two).await;
    upload(&mut ada, "photo.JPG", "pretended").await;
    upload(&mut ada, "notes.txt", "words").await;
    ada.post(&documents, json!({"path": "photo.JPG"})).await.expect(204);
    assert_eq!(agent.opened()[0].path, "photo.JPG");
    ada.post(&documents, json!({"path": "photo.JPG", "as": "layer"})).await.expect_problem(422, "document.which");
    ada.post(&documents, json!({"path": "photo.JPG", "as": "layer", "document": "7-2"})).await.expect(204);
    until(&app, &mut ada, &id, |session| session["documents"][1]["layers"] == 2).await;
    let problem = ada.post(&documents, json!({"path": "notes.txt"})).await.expect_problem(422, "document.unsupported");
    assert!(problem["formats"].as_array().unwrap().contains(&json!("png")), "{problem}");
    for (path, code) in [("missing.png", "files.notFound"), ("a/../b.png", "invalid")] {
        let answer = ada.post(&documents, json!({"path": path, "as": "layer", "document": "7-1"})).await;
        assert_eq!(answer.json()["code"], code, "{path}");
    }
    let answer = ada.post(&documents, json!({"path": "missing.png"})).await;
    answer.expect_problem(404, "files.notFound");
}

#[tokio::test]
async fn documents_are_their_owners_and_a_busy_gimp_says_so() {
    let app = TestApp::new().await;
    let (mut ada, mut ben) = (app.user("ada@example.org").await, app.user("ben@example.org").await);
    let mut root = app.admin("root@example.org").await;
    let (id, documents, agent) = with_documents(&app, &mut ada, vec![document("7-1", "a.xcf", Some("a.xcf"))]).await;
    let calls: [(&str, String, Value); 5] = [
        ("GET", documents.clone(), json!(null)),
        ("POST", documents.clone(), json!({"path": "a.png"})),
        ("POST", format!("{documents}/7-1/save"), json!({})),
        ("POST", format!("{documents}/7-1/export"), json!({"format": "png"})),
        ("GET", format!("{documents}/7-1/thumbnail"), json!(null)),
    ];
    for (method, path, body) in &calls {
        for (client, status, code) in [
            (&mut ben, 404, "notFound"),
            (&mut root, 403, "session.notYours"),
            (&mut app.client(), 401, "auth.signedOut"),
        ] {
            let answer = if *method == "GET" { client.get(path).await } else { client.post(path, body.clone()).await };
            answer.expect_problem(status, code);
        }
    }
    agent.set_busy(true);
    let problem = ada.post(&calls[2].1, json!({})).await.expect_problem(503, "gimp.busy");
    assert!(problem["detail"].as_str().unwrap().contains("Nothing was lost"), "{problem}");
    agent.set_busy(false);
    ada.post(&calls[2].1, json!({})).await.expect(200);

    ada.delete(&format!("{SESSIONS}/{id}")).await.expect(202);
    end_of(&app, &mut ada, &id).await;
    ada.post(&calls[3].1, json!({"format": "png"})).await.expect_problem(409, "session.notRunning");
    fake(&app).behave(|behaviour| behaviour.hang_in_step = Some(protocol::session::StartStep::StartingGimp));
    let another = start(&mut ada).await;
    ada.get(&format!("{SESSIONS}/{another}/documents")).await.expect_problem(409, "session.notRunning");
}
