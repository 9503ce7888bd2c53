//! Where the server has no way to the files, it says so.

use serde_json::json;

use crate::config::DriverKind;
use crate::test_app::TestApp;

#[tokio::test]
async fn files_that_are_elsewhere_are_said_to_be() {
    let mut app = TestApp::with(|settings| {
        settings.driver = DriverKind::Kubernetes;
        settings.kubernetes.image = "gimp-session:1".to_owned();
        settings.kubernetes.kubeconfig = Some("/nonexistent".into());
    })
    .await;
    // That no session can start.
    app.allow_errors();
    let mut user = app.user("ada@example.org").await;
    for answer in [
        user.get("/api/v1/files?path=").await,
        user.get("/api/v1/files/content?path=a.png").await,
        user.get("/api/v1/files/versions?path=a.png").await,
        user.post("/api/v1/files/uploads", json!({"path": "a.png", "size": 1, "overwrite": false})).await,
        user.post("/api/v1/files/trash", json!({"path": "a.png"})).await,
        user.get("/api/v1/workspace").await,
        user.get("/api/v1/workspace/recoveries").await,
    ] {
        let problem = answer.expect(501);
        assert_eq!(problem["code"], "workspace.elsewhere");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with("Your files can be reached while a session runs, in GIMP itself"), "{detail}");
    }
}
