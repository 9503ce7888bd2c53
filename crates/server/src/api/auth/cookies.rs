//! The two cookies of a signed-in browser.

use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use time::Duration;

use crate::auth::current::{ACCESS_COOKIE, REFRESH_COOKIE};
use crate::auth::grant::Grant;
use crate::state::App;

/// Where the refresh token is of use.
const REFRESH_PATH: &str = "/api/v1/auth";

pub fn of_grant(app: &App, grant: &Grant) -> CookieJar {
    let lifetimes = app.auth.lifetimes;
    CookieJar::new().add(cookie(app, ACCESS_COOKIE, grant.access.clone(), "/", lifetimes.access)).add(cookie(
        app,
        REFRESH_COOKIE,
        grant.refresh.clone(),
        REFRESH_PATH,
        lifetimes.refresh,
    ))
}

/// Makes the browser forget both.
pub fn none(app: &App) -> CookieJar {
    CookieJar::new().add(cookie(app, ACCESS_COOKIE, String::new(), "/", Duration::ZERO)).add(cookie(
        app,
        REFRESH_COOKIE,
        String::new(),
        REFRESH_PATH,
        Duration::ZERO,
    ))
}

fn cookie(app: &App, name: &'static str, value: String, path: &'static str, max_age: Duration) -> Cookie<'static> {
    Cookie::build((name, value))
        .path(path)
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(app.settings.is_secure())
        .max_age(max_age)
        .build()
}
