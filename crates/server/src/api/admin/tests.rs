//! What administrators do with accounts, invites and the audit trail.

use sea_orm::{EntityTrait, PaginatorTrait};
use serde_json::{Value, json};
use time::Duration;

use crate::auth::current::Role;
use crate::auth::{accounts, prune, reset};
use crate::config::Registration;
use crate::db::entity::{invite, login_failure, password_reset, session, sign_in, token};
use crate::mail::sink::Sink;
use crate::session::testing::{changed, started};
use crate::test_app::{Client, PASSWORD, TestApp};

const USERS: &str = "/api/v1/admin/users";

async fn register(client: &mut Client, email: &str, code: Option<&str>) -> crate::test_app::Answer {
    let body = json!({"email": email, "password": PASSWORD, "inviteCode": code});
    client.post("/api/v1/auth/register", body).await
}

fn path(user: &Client) -> String {
    format!("{USERS}/{}", user.user.unwrap())
}

fn emails(page: &Value) -> Vec<&str> {
    page["users"].as_array().unwrap().iter().map(|user| user["email"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn only_administrators_may() {
    let app = TestApp::new().await;
    let mut user = app.user("user@example.org").await;
    let mut nobody = app.client();
    let own = path(&user);
    for (client, status, code) in [(&mut user, 403, "auth.adminOnly"), (&mut nobody, 401, "auth.signedOut")] {
        client.get(USERS).await.expect_problem(status, code);
        client.patch(&own, json!({"role": "admin"})).await.expect_problem(status, code);
        client.post(&format!("{own}/sign-out"), json!({})).await.expect_problem(status, code);
        client.post(&format!("{own}/reset-link"), json!({})).await.expect_problem(status, code);
        client.get("/api/v1/admin/invites").await.expect_problem(status, code);
        client.post("/api/v1/admin/invites", json!({})).await.expect_problem(status, code);
        client.get("/api/v1/admin/audit").await.expect_problem(status, code);
    }
}

#[tokio::test]
async fn users_are_listed_searched_and_paged() {
    let app = TestApp::new().await;
    let mut admin = app.admin("admin@example.org").await;
    for number in 0..5 {
        let body = json!({"email": format!("user{number}@example.org"), "password": PASSWORD, "firstName": format!("N_{number}%")});
        app.client().post("/api/v1/auth/register", body).await.expect(201);
    }
    let all = admin.get(USERS).await.expect(200);
    assert_eq!(emails(&all).len(), 6);
    assert_eq!(emails(&all)[0], "user4@example.org");
    let user = &all["users"][0];
    assert_eq!(
        (&user["sessions"], &user["usedBytes"], &user["quotaBytes"]),
        (&json!(0), &json!(0), &json!(20_u64 << 30))
    );
    assert_eq!(user["role"], "user");
    assert_eq!(all["nextCursor"], Value::Null);

    let mut seen = vec![];
    let mut next = format!("{USERS}?limit=4");
    loop {
        let page = admin.get(&next).await.expect(200);
        seen.extend(emails(&page).into_iter().map(str::to_owned));
        match page["nextCursor"].as_str() {
            Some(cursor) => next = format!("{USERS}?limit=4&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, emails(&all));
    for (query, found) in
        [("USER3", 1), ("n_", 5), ("%25", 5), ("N_2%25", 1), ("example.org", 6), ("nobody", 0), ("a%5C", 0)]
    {
        let page = admin.get(&format!("{USERS}?query={query}")).await.expect(200);
        assert_eq!(emails(&page).len(), found, "{query}");
    }
    admin.get(&format!("{USERS}?cursor=nonsense")).await.expect_problem(422, "invalid");
    assert_eq!(admin.get(&format!("{USERS}?limit=nonsense")).await.status(), 400);
}

#[tokio::test]
async fn roles_and_quotas_change() {
    let app = TestApp::new().await;
    let mut admin = app.admin("admin@example.org").await;
    app.client()
        .post("/api/v1/auth/register", json!({"email": "ann@example.org", "password": PASSWORD}))
        .await
        .expect(201);
    let mut ann = app.client();
    let login = json!({"email": "ann@example.org", "password": PASSWORD});
    let id = ann.post("/api/v1/auth/login", login).await.expect(200)["user"]["id"].as_str().unwrap().to_owned();
    let path = format!("{USERS}/{id}");
    ann.get(USERS).await.expect_problem(403, "auth.adminOnly");
    let changed = admin.patch(&path, json!({"role": "admin", "quotaGb": 7})).await.expect(200);
    assert_eq!(changed["role"], "admin");
    // At once, with the same token.
    let list = ann.get(USERS).await.expect(200);
    assert_eq!(list["users"][0]["quotaBytes"], 7_u64 << 30);
    admin.patch(&path, json!({"role": "user"})).await.expect(200);
    ann.get(USERS).await.expect_problem(403, "auth.adminOnly");
    for body in [json!({"quotaGb": 0}), json!({"quotaGb": 10_001})] {
        admin.patch(&path, body).await.expect_problem(422, "invalid");
    }
    assert_eq!(admin.patch(&path, json!({"role": "owner"})).await.status(), 422);
    let unknown = format!("{USERS}/{}", uuid::Uuid::now_v7());
    admin.patch(&unknown, json!({"quotaGb": 3})).await.expect_problem(404, "notFound");
    admin.post(&format!("{unknown}/sign-out"), json!({})).await.expect_problem(404, "notFound");
    admin.post(&format!("{unknown}/reset-link"), json!({})).await.expect_problem(404, "notFound");
}

#[tokio::test]
async fn a_deactivated_user_is_out_at_once_and_may_come_back() {
    let app = TestApp::new().await;
    let mut admin = app.admin("admin@example.org").await;
    let mut ann = app.user("ann@example.org").await;
    let mut browser = app.client();
    let login = json!({"email": "ann@example.org", "password": PASSWORD});
    browser.post("/api/v1/auth/login", login.clone()).await.expect(200);
    assert_eq!(admin.patch(&path(&ann), json!({"isActive": false})).await.expect(200)["isActive"], false);
    ann.get("/api/v1/users/profile").await.expect_problem(401, "auth.signedOut");
    browser.post("/api/v1/auth/refresh", json!({})).await.expect_problem(401, "auth.signedOut");
    browser.post("/api/v1/auth/login", login.clone()).await.expect_problem(403, "auth.deactivated");
    admin.post(&format!("{}/reset-link", path(&ann)), json!({})).await.expect_problem(409, "users.inactive");
    admin.patch(&path(&ann), json!({"isActive": true})).await.expect(200);
    ann.get("/api/v1/users/profile").await.expect_problem(401, "auth.signedOut");
    browser.post("/api/v1/auth/login", login).await.expect(200);
}

#[tokio::test]
async fn sessions_of_a_deactivated_user_end() {
    let app = TestApp::new().await;
    let mut admin = app.admin("admin@example.org").await;
    let mut ann = app.user("ann@example.org").await;
    let (_, id) = started(&app, &mut ann).await;
    let listed = admin.get(&format!("{USERS}?query=ann")).await.expect(200);
    assert_eq!(listed["users"][0]["sessions"], 1);
    let mut changes = app.app.sessions.watchers().subscribe(ann.user.unwrap()).unwrap();
    admin.patch(&path(&ann), json!({"isActive": false})).await.expect(200);
    let ended = loop {
        let row = session::Entity::find_by_id(id.0).one(&app.app.db).await.unwrap().unwrap();
        if row.ended_at.is_some() {
            break row;
        }
        changed(&mut changes).await;
    };
    assert_eq!(ended.end_reason.as_deref(), Some("admin"));
}

#[tokio::test]
async fn an_administrator_always_remains() {
    let app = TestApp::new().await;
    let mut ada = app.admin("ada@example.org").await;
    let mut bob = app.admin("bob@example.org").await;
    for body in [json!({"role": "user"}), json!({"isActive": false})] {
        ada.patch(&path(&ada), body).await.expect_problem(409, "users.self");
    }
    ada.patch(&path(&ada), json!({"role": "admin", "isActive": true, "quotaGb": 5})).await.expect(200);
    // Two who remove each other at once: one of them stays.
    let (path_of_ada, path_of_bob) = (path(&ada), path(&bob));
    let (one, two) = tokio::join!(
        ada.patch(&path_of_bob, json!({"role": "user"})),
        bob.patch(&path_of_ada, json!({"isActive": false})),
    );
    let statuses = [one.status(), two.status()];
    assert!(statuses.iter().filter(|status| **status == 200).count() == 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 401 | 403 | 409)), "{statuses:?}");
}

#[tokio::test]
async fn signing_a_user_out_and_making_a_reset_link() {
    let app = TestApp::new().await;
    let mut admin = app.admin("admin@example.org").await;
    let mut ann = app.user("ann@example.org").await;
    admin.post(&format!("{}/sign-out", path(&ann)), json!({})).await.expect(204);
    ann.get("/api/v1/users/profile").await.expect_problem(401, "auth.signedOut");
    let made = admin.post(&format!("{}/reset-link", path(&ann)), json!({})).await.expect(200);
    let link = made["link"].as_str().unwrap();
    let token = link.strip_prefix("http://127.0.0.1:8080/reset#token=").unwrap();
    let body = json!({"token": token, "password": "chosen by the user"});
    app.client().post("/api/v1/auth/password/reset", body).await.expect(204);
}

#[tokio::test]
async fn invites_make_one_account_each() {
    let app = TestApp::with(|settings| settings.registration = Registration::Invite).await;
    // The first needs none.
    let mut admin = app.client();
    assert_eq!(register(&mut admin, "ada@example.org", None).await.expect(201)["user"]["role"], "admin");
    let mut client = app.client();
    register(&mut client, "bob@example.org", None).await.expect_problem(403, "auth.inviteNeeded");
    register(&mut client, "bob@example.org", Some("made up")).await.expect_problem(403, "auth.inviteInvalid");
    // Without an invite nobody learns which addresses are taken.
    register(&mut client, "ada@example.org", None).await.expect_problem(403, "auth.inviteNeeded");
    register(&mut client, "ada@example.org", Some("made up")).await.expect_problem(403, "auth.inviteInvalid");

    let made = admin.post("/api/v1/admin/invites", json!({})).await.expect(201);
    let code = made["code"].as_str().unwrap();
    assert_eq!(made["link"], format!("http://127.0.0.1:8080/register#invite={code}"));
    assert_eq!(made["mailed"], false);
    // A taken address does not use it up.
    register(&mut client, "ada@example.org", Some(code)).await.expect_problem(409, "auth.emailTaken");
    let mut racers = tokio::task::JoinSet::new();
    for number in 0..5 {
        let (mut client, code) = (app.client(), code.to_owned());
        racers.spawn(
            async move { register(&mut client, &format!("user{number}@example.org"), Some(&code)).await.status() },
        );
    }
    let statuses = racers.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    register(&mut client, "bob@example.org", Some(code)).await.expect_problem(403, "auth.inviteInvalid");

    let list = admin.get("/api/v1/admin/invites").await.expect(200);
    assert!(list["invites"][0]["usedAt"].is_string() && list["invites"][0]["usedBy"].is_string(), "{list}");
    assert!(!list.to_string().contains(code));
}

#[tokio::test]
async fn invites_expire_and_may_be_for_one_address() {
    let mut sink = Sink::listen().await;
    let app = TestApp::with(|settings| {
        settings.registration = Registration::Invite;
        sink.configure(settings);
    })
    .await;
    let mut admin = app.admin("ada@example.org").await;
    let made = admin
        .post("/api/v1/admin/invites", json!({"email": "Bob@example.org", "expiresInHours": 48}))
        .await
        .expect(201);
    assert_eq!(made["mailed"], true);
    let mail = sink.mail().await;
    assert_eq!(
        (mail.to.as_slice(), mail.link()),
        (&["bob@example.org".to_owned()][..], made["link"].as_str().unwrap())
    );
    assert!(mail.body.contains("within 2 days"), "{}", mail.body);
    let code = made["code"].as_str().unwrap();
    register(&mut app.client(), "eve@example.org", Some(code)).await.expect_problem(403, "auth.inviteInvalid");
    register(&mut app.client(), "bob@example.org", Some(code)).await.expect(201);

    let made = admin.post("/api/v1/admin/invites", json!({"expiresInHours": 2})).await.expect(201);
    app.clock.advance(Duration::hours(2) + Duration::seconds(1));
    let code = made["code"].as_str().unwrap();
    register(&mut app.client(), "eve@example.org", Some(code)).await.expect_problem(403, "auth.inviteInvalid");
    for body in [json!({"expiresInHours": 0}), json!({"expiresInHours": 8761}), json!({"email": "nobody"})] {
        admin.post("/api/v1/admin/invites", body).await.expect_problem(422, "invalid");
    }
    let failing = admin.post("/api/v1/admin/invites", json!({"email": "full@example.org"})).await.expect(201);
    assert_eq!(failing["mailed"], true);
    app.app.background.end().await;
    assert!(app.log().contains("an invite could not be mailed"));
}

#[tokio::test]
async fn nobody_registers_where_it_is_closed() {
    let app = TestApp::with(|settings| settings.registration = Registration::Closed).await;
    assert_eq!(register(&mut app.client(), "ada@example.org", None).await.expect(201)["user"]["role"], "admin");
    register(&mut app.client(), "bob@example.org", None).await.expect_problem(403, "auth.registrationClosed");
    register(&mut app.client(), "bob@example.org", Some("code")).await.expect_problem(403, "auth.registrationClosed");
}

#[tokio::test]
async fn the_audit_trail_is_paged_and_names_people() {
    let app = TestApp::new().await;
    let mut admin = app.admin("admin@example.org").await;
    let mut ann = app.user("ann@example.org").await;
    ann.address = "192.0.2.9:5".parse().unwrap();
    for _ in 0..3 {
        let body = json!({"email": "ann@example.org", "password": PASSWORD});
        ann.post("/api/v1/auth/login", body).await.expect(200);
        ann.post("/api/v1/auth/logout", json!({})).await.expect(204);
    }
    let mut entries = vec![];
    let mut next = "/api/v1/admin/audit?limit=4".to_owned();
    loop {
        let page = admin.get(&next).await.expect(200);
        entries.extend(page["entries"].as_array().unwrap().iter().cloned());
        match page["nextCursor"].as_str() {
            Some(cursor) => next = format!("/api/v1/admin/audit?limit=4&cursor={cursor}"),
            None => break,
        }
    }
    let kinds: Vec<_> = entries.iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["signIn.signedOut", "signIn.ok"].repeat(3));
    for entry in &entries {
        assert_eq!((&entry["email"], &entry["address"]), (&json!("ann@example.org"), &json!("192.0.2.9")), "{entry}");
        assert_eq!(entry["userId"], json!(ann.user.unwrap()));
    }
    admin.get("/api/v1/admin/audit?cursor=x").await.expect_problem(422, "invalid");
}

#[tokio::test]
async fn the_command_line_makes_and_changes_accounts() {
    let app = TestApp::new().await;
    let (db, passwords) = (&app.app.db, &app.app.auth.passwords);
    let now = app.clock.now();
    let add = |email: &'static str, password: &'static str, role| {
        accounts::add(db, passwords, email, password.to_owned(), role, 30, now)
    };
    let ada = add("Ada@example.org", PASSWORD, None).await.unwrap();
    assert_eq!((ada.email.as_str(), ada.role.as_str(), ada.uid_offset), ("ada@example.org", "admin", Some(0)));
    let bob = add("bob@example.org", PASSWORD, None).await.unwrap();
    assert_eq!((bob.role.as_str(), bob.uid_offset), ("user", Some(1)));
    for (email, password, words) in [
        ("bob@example.org", PASSWORD, "There is an account"),
        ("bob", PASSWORD, "Enter an e-mail address"),
        ("eve@example.org", "short", "at least 10"),
    ] {
        let error = add(email, password, Some(Role::User)).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let listed: Vec<_> = accounts::list(db).await.unwrap().into_iter().map(|user| user.email).collect();
    assert_eq!(listed, ["ada@example.org", "bob@example.org"]);
    assert_eq!(accounts::set_role(db, "BOB@example.org", Role::Admin, now).await.unwrap().role, "admin");
    accounts::set_role(db, "ada@example.org", Role::User, now).await.unwrap();
    let last = accounts::set_role(db, "bob@example.org", Role::User, now).await.unwrap_err();
    assert!(matches!(last, accounts::AccountError::LastAdmin), "{last}");
    let unknown = accounts::set_role(db, "eve@example.org", Role::User, now).await.unwrap_err();
    assert!(matches!(unknown, accounts::AccountError::Unknown), "{unknown}");
    let link = reset::make_link_at_command_line(db, "https://x.example.org", "ada@example.org", now).await.unwrap();
    let token = link.strip_prefix("https://x.example.org/reset#token=").unwrap();
    let body = json!({"token": token, "password": "chosen by the user"});
    app.client().post("/api/v1/auth/password/reset", body).await.expect(204);
}

#[tokio::test]
async fn what_has_expired_is_removed() {
    let app = TestApp::new().await;
    let db = &app.app.db;
    let mut admin = app.admin("admin@example.org").await;
    let mut browser = app.client();
    let login = json!({"email": "admin@example.org", "password": PASSWORD});
    browser.post("/api/v1/auth/login", login.clone()).await.expect(200);
    let wrong = json!({"email": "nobody@example.org", "password": "wrong"});
    browser.post("/api/v1/auth/login", wrong).await.expect_problem(401, "auth.wrongCredentials");
    admin.post(&format!("{}/reset-link", path(&admin)), json!({})).await.expect(200);
    admin.post("/api/v1/admin/invites", json!({"expiresInHours": 1})).await.expect(201);
    assert_eq!(prune::prune(&app.app.db, app.clock.now()).await.unwrap(), 0, "everything is still good");
    let counts = async || {
        [
            token::Entity::find().count(db).await.unwrap(),
            sign_in::Entity::find().count(db).await.unwrap(),
            login_failure::Entity::find().count(db).await.unwrap(),
            password_reset::Entity::find().count(db).await.unwrap(),
            invite::Entity::find().count(db).await.unwrap(),
        ]
    };
    assert_eq!(counts().await, [3, 2, 1, 1, 1]);
    app.clock.advance(Duration::hours(3));
    prune::prune(&app.app.db, app.clock.now()).await.unwrap();
    assert_eq!(counts().await, [2, 2, 1, 0, 1], "the access token and the link");
    browser.post("/api/v1/auth/refresh", json!({})).await.expect(200);
    app.clock.advance(Duration::days(31));
    prune::prune(&app.app.db, app.clock.now()).await.unwrap();
    assert_eq!(counts().await, [1, 1, 0, 0, 0], "only the administrator's token of a year is left");
    admin.get(USERS).await.expect(200);
    admin.post("/api/v1/auth/logout", json!({})).await.expect(204);
    prune::prune(&app.app.db, app.clock.now()).await.unwrap();
    assert_eq!(counts().await, [0; 5]);
}
