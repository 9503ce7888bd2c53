//! `GET /sessions/{id}/ice`

use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde::Serialize;
use sha1::Sha1;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

use crate::api::extract::{Json, Path};
use crate::auth::current::CurrentUser;
use crate::config::{Secret, Settings};
use crate::error::Problem;
use crate::ids::{SessionId, UserId};
use crate::state::App;

/// How long credentials are good: a TURN server asks for them again with every refresh of an allocation.
const GOOD_FOR: Duration = Duration::hours(12);

/// What a browser's `RTCPeerConnection` is made with.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Ice)]
pub struct Answer {
    /// Empty where the server has no TURN server set: then browsers reach it directly or not by WebRTC.
    ice_servers: Vec<IceServer>,
}

/// As `RTCIceServer` of WebRTC.
#[derive(Debug, Serialize, ToSchema)]
pub struct IceServer {
    #[schema(example = json!(["turn:turn.example.org:3478"]))]
    urls: Vec<String>,
    username: String,
    credential: String,
}

/// The TURN servers a browser may use for the session's picture, with credentials for some hours. For the session's
/// owner only.
#[utoipa::path(
    get, path = "/{id}/ice", tag = "sessions", operation_id = "ice", params(("id" = SessionId, Path)),
    responses(
        (status = 200, body = Answer),
        (status = 401, description = "auth.signedOut"),
        (status = 403, description = "session.notYours"),
        (status = 404, description = "notFound"),
        (status = 409, description = "session.notRunning"),
    ),
)]
pub async fn ice(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<SessionId>,
) -> Result<Json<Answer>, Problem> {
    let row = super::find_own(&app, &user, id).await?;
    super::usable(&app, &row).await?;
    Ok(Json(Answer { ice_servers: servers(&app.settings, user.id, app.clock.now()) }))
}

fn servers(settings: &Settings, user: UserId, now: OffsetDateTime) -> Vec<IceServer> {
    let Some(secret) = settings.turn_secret.as_ref().filter(|_| !settings.turn_urls.is_empty()) else { return vec![] };
    let (username, credential) = credentials(secret, user, now + GOOD_FOR);
    vec![IceServer { urls: settings.turn_urls.clone(), username, credential }]
}

/// As TURN servers take them (draft-uberti-behave-turn-rest-00 section 2.2; coturn's `use-auth-secret`). SHA-1 is
/// theirs to choose; HMAC does not suffer from its collisions.
fn credentials(secret: &Secret, user: UserId, until: OffsetDateTime) -> (String, String) {
    let username = format!("{}:{user}", until.unix_timestamp());
    let Ok(mac) = Hmac::<Sha1>::new_from_slice(secret.expose().as_bytes()) else {
        unreachable!("HMAC takes keys of any length")
    };
    let credential = STANDARD.encode(mac.chain_update(&username).finalize().into_bytes());
    (username, credential)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing::started;
    use crate::test_app::TestApp;

    #[test]
    fn credentials_are_those_a_turn_server_computes() {
        // printf 1800000000:00000000-0000-0000-0000-000000000000 | openssl dgst -sha1 -hmac north -binary | base64
        let until = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let (username, credential) = credentials(&Secret::new("north"), UserId(uuid::Uuid::nil()), until);
        assert_eq!(username, "1800000000:00000000-0000-0000-0000-000000000000");
        assert_eq!(credential, "nx9S4t4Znx4HKOoWxCi7ETgPk6k=");
    }

    #[tokio::test]
    async fn the_owner_gets_credentials_and_nobody_else() {
        let app = TestApp::with(|settings| {
            settings.turn_urls = vec!["turn:turn.example.org".into(), "turns:turn.example.org:443".into()];
            settings.turn_secret = Some(Secret::new("north"));
        })
        .await;
        let mut ada = app.user("ada@example.org").await;
        let (id, _) = started(&app, &mut ada).await;
        let path = format!("/api/v1/sessions/{id}/ice");
        let answer = ada.get(&path).await.expect(200);
        let server = &answer["iceServers"][0];
        assert_eq!(server["urls"][1], "turns:turn.example.org:443");
        let (until, user) = server["username"].as_str().unwrap().split_once(':').unwrap();
        assert_eq!(user, ada.user.unwrap().to_string());
        let left = until.parse::<i64>().unwrap() - app.clock.now().unix_timestamp();
        assert!((12 * 3600 - 60..=12 * 3600).contains(&left), "{left}");
        assert_eq!(server["credential"].as_str().unwrap().len(), 28);
        assert!(!answer.to_string().contains("north"));

        app.client().get(&path).await.expect_problem(401, "auth.signedOut");
        app.user("ben@example.org").await.get(&path).await.expect_problem(404, "notFound");
        app.admin("root@example.org").await.get(&path).await.expect_problem(403, "session.notYours");
    }

    #[tokio::test]
    async fn without_a_turn_server_there_is_none() {
        let app = TestApp::new().await;
        let mut ada = app.user("ada@example.org").await;
        let (id, _) = started(&app, &mut ada).await;
        let answer = ada.get(&format!("/api/v1/sessions/{id}/ice")).await.expect(200);
        assert_eq!(answer, serde_json::json!({"iceServers": []}));
    }
}
