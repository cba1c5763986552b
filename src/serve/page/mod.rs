//! The page: rendered here, drawn in inline SVG, nothing fetched from elsewhere, complete without its script. A handler
//! prepares what its template places; every foreign text passes `visible`, and the template engine escapes it.
//!
//! * `parts`: the pieces that many pages share
//! * one file for each page

pub mod curve;
pub mod drift;
pub mod drifts;
pub mod finding;
pub mod flow;
pub mod flows;
pub mod group;
pub mod groups;
pub mod incident;
pub mod login;
pub mod overview;
pub mod parts;
pub mod search;
pub mod topic;
pub mod topics;

use std::sync::{Arc, LazyLock};

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::app::App;
use super::auth::base64;
use super::guard::Caller;
use crate::report::format::{utc, visible};

/// What surrounds every page.
pub struct Shell {
    pub title: String,
    /// Name in the navigation.
    pub section: &'static str,
    /// The page in one sentence; also read out when it changes.
    pub says: String,
    pub cluster: String,
    pub version: String,
    pub now: String,
    pub csrf: String,
    pub is_logged_in: bool,
    pub may_log_in: bool,
}

impl Shell {
    pub fn new(app: &App, caller: &Caller, section: &'static str, title: &str, says: String) -> Self {
        Self {
            title: visible(title).into_owned(),
            section,
            says: visible(&says).into_owned(),
            cluster: visible(&app.board.lag.load().cluster).into_owned(),
            version: app.info.version.clone(),
            now: utc(app.now_ms()),
            csrf: caller.form_token.clone(),
            is_logged_in: caller.session.operator,
            may_log_in: app.settings.auth.token.is_some() && !caller.session.operator,
        }
    }

    fn nav(&self) -> [(&'static str, &'static str); 6] {
        [
            ("Overview", "/"),
            ("Groups", "/groups"),
            ("Topics", "/topics"),
            ("Flows", "/flows"),
            ("Drift", "/drift"),
            ("Search", "/search"),
        ]
    }
}

pub fn render(view: &impl Template) -> Response {
    match view.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, "this page could not be rendered\n").into_response()
        }
    }
}

#[derive(Template)]
#[template(path = "serve/message.html")]
struct Message {
    shell: Shell,
}

/// A page that only says something.
pub fn message(app: &App, caller: &Caller, status: StatusCode, title: &str, says: String) -> Response {
    let view = Message { shell: Shell::new(app, caller, "", title, says) };
    (status, render(&view)).into_response()
}

pub fn missing(app: &App, caller: &Caller, what: &str) -> Response {
    let says = format!("There is no such {what} now; it may have been resolved, deleted or renamed.");
    message(app, caller, StatusCode::NOT_FOUND, "Not found", says)
}

pub async fn not_found(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, uri: Uri) -> Response {
    if uri.path().starts_with("/api/") || uri.path().starts_with("/v3/") {
        return super::api::Failed::unknown("route; see /api/openapi.json").into_response();
    }
    missing(&app, &caller, "page")
}

/// A path with foreign names in it.
pub fn path(base: &str, name: &str) -> String {
    let mut out = format!("{base}/");
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}

#[derive(Template)]
#[template(source = "{% include \"serve/page.css\" %}", ext = "txt")]
struct Style;

#[derive(Template)]
#[template(source = "{% include \"serve/page.js\" %}", ext = "txt")]
struct Script;

/// Allows the page's own style and script by their hashes, and nothing else from anywhere.
pub fn content_security_policy() -> HeaderValue {
    static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
        let hash = |text: askama::Result<String>| {
            let digest = text.map(|text| Sha256::digest(text.as_bytes()).to_vec()).unwrap_or_default();
            format!("'sha256-{}'", base64::encode(&digest))
        };
        let policy = format!(
            "default-src 'none'; style-src {}; script-src {}; img-src data:; connect-src 'self'; form-action 'self'; \
             base-uri 'none'; frame-ancestors 'none'",
            hash(Style.render()),
            hash(Script.render()),
        );
        HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"))
    });
    POLICY.clone()
}
