//! The API's description: as `/api/openapi.json`, and as a page for people at `/api/docs` that needs no script.

mod page;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    Components, Content, InfoBuilder, License, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder,
    SecurityRequirement,
};

use crate::auth::current::ACCESS_COOKIE;
use crate::error::ProblemDetails;
use crate::state::App;

/// Media type of errors (RFC 9457).
const PROBLEM: &str = "application/problem+json";

/// What is not said at the handlers.
pub(super) fn base() -> OpenApi {
    let info = InfoBuilder::new()
        .title("GIMP Streaming Platform")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "JSON in camelCase, times RFC 3339 in UTC, ids UUID. Errors are `application/problem+json` (RFC 9457) with a \
             stable `code`. Sign in with `POST /api/v1/auth/login` and send `Authorization: Bearer <accessToken>`.",
        ))
        .license(Some(License::new("Apache-2.0")))
        .build();
    let mut components = Components::new();
    components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(ACCESS_COOKIE))));
    let mut schemas = vec![];
    <ProblemDetails as utoipa::ToSchema>::schemas(&mut schemas);
    schemas.push(("ProblemDetails".to_owned(), <ProblemDetails as utoipa::PartialSchema>::schema()));
    components.schemas.extend(schemas);
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .security(Some([
            SecurityRequirement::new::<_, [String; 0], String>("bearer", []),
            SecurityRequirement::new::<_, [String; 0], String>("cookie", []),
        ]))
        .build()
}

/// Every error has the same shape: said here once for all handlers, which name only status and codes.
pub(super) fn add_problems(description: &mut OpenApi) {
    let content = || Content::new(Some(Ref::from_schema_name("ProblemDetails")));
    for item in description.paths.paths.values_mut() {
        let methods = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.head, &mut item.patch];
        for operation in methods.into_iter().flatten() {
            let responses = &mut operation.responses.responses;
            for (status, response) in responses.iter_mut() {
                if let RefOr::T(response) = response
                    && status.starts_with(['4', '5'])
                    && response.content.is_empty()
                {
                    response.content.insert(PROBLEM.to_owned(), content().into());
                }
            }
            let other = || ResponseBuilder::new().description("Any other error").content(PROBLEM, content()).build();
            responses.entry("default".to_owned()).or_insert_with(|| other().into());
        }
    }
}

/// The description as it is committed in `openapi.json`: pretty, with a line end.
///
/// # Errors
/// Never in practice: the description is plain data.
pub fn json() -> Result<String, serde_json::Error> {
    super::described().into_openapi().to_pretty_json().map(|text| text + "\n")
}

pub(super) fn router(description: &OpenApi) -> Router<App> {
    let json = description.to_json().unwrap_or_default();
    let page = page::render(&serde_json::from_str(&json).unwrap_or_default());
    let serve = |media_type: &'static str, text: String| {
        let bytes = bytes::Bytes::from(text);
        get(move || {
            let bytes = bytes.clone();
            async move { ([(header::CONTENT_TYPE, media_type)], bytes) }
        })
    };
    Router::new()
        .route("/api/openapi.json", serve("application/json", json))
        .route("/api/docs", serve("text/html; charset=utf-8", page))
        .route("/api/docs.css", serve("text/css; charset=utf-8", page::STYLE.to_owned()))
}
