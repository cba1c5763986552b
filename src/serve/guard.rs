//! What every request passes first: is the host ours, who asks, may they, is it really their own page that asks. And what
//! every answer carries: headers that keep a browser from doing more than it was told.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::json;

use super::app::App;
use super::auth::Who;
use super::auth::session::Session;
use super::page;

const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Who asks; handlers find it among the request's extensions.
#[derive(Clone, Debug)]
pub struct Caller {
    pub who: Who,
    pub session: Session,
    /// A form must bring it back.
    pub form_token: String,
}

/// A request that is not answered, and why.
struct Refusal {
    status: StatusCode,
    why: &'static str,
}

fn refuse<T>(status: StatusCode, why: &'static str) -> Result<T, Refusal> {
    Err(Refusal { status, why })
}

pub async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let cookies = text(request.headers(), header::COOKIE).unwrap_or_default();
    let known = app.sessions.read(cookies, app.now_ms());
    let is_new = known.is_none();
    let session = known.unwrap_or_else(|| app.sessions.begin(false, app.now_ms()));
    let set_cookie = is_new.then(|| app.sessions.cookie(&session, app.settings.tls.is_some()));

    let mut response = match check(&app, &request, &path, &session) {
        Err(refusal) => refused(&app, &request, &path, refusal),
        Ok(who) => {
            let form_token = app.sessions.form_token(&session);
            request.extensions_mut().insert(Caller { who, session, form_token });
            match app.requests.clone().try_acquire_owned() {
                Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "too many requests at once\n").into_response(),
                Ok(_permit) => match tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await {
                    Ok(response) => response,
                    Err(_) => (StatusCode::GATEWAY_TIMEOUT, "no answer within 30 s\n").into_response(),
                },
            }
        }
    };
    let is_page = text(response.headers(), header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html"));
    let headers = response.headers_mut();
    if let Some(Ok(cookie)) = set_cookie.filter(|_| is_page).map(HeaderValue::try_from) {
        // A log-in has set its own.
        headers.entry(header::SET_COOKIE).or_insert(cookie);
    }
    secure(headers);
    response
}

fn check(app: &App, request: &Request, path: &str, session: &Session) -> Result<Who, Refusal> {
    let headers = request.headers();
    let auth = &app.settings.auth;
    if app.settings.listen.ip().is_loopback() && !is_our_host(headers, app.settings.external_origin.as_deref()) {
        let why = "this name is not known here; ask for 127.0.0.1 or localhost, or set serve.external-url";
        return refuse(StatusCode::MISDIRECTED_REQUEST, why);
    }
    let by_header = text(headers, header::AUTHORIZATION).map_or(Who::Nobody, |header| auth.by_header(header));
    let who = match () {
        () if !auth.is_required() => Who::Operator,
        () if session.operator => Who::Operator,
        () => by_header,
    };
    let is_open =
        matches!(path, "/livez" | "/readyz" | "/login") || path == "/metrics" && app.settings.metrics_without_auth;
    if who == Who::Nobody && !is_open {
        return refuse(StatusCode::UNAUTHORIZED, "log in, or send the token: Authorization: Bearer TOKEN");
    }
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(who);
    }
    // A browser adds no bearer token by itself, so what carries one was not forged by another site.
    if by_header != Who::Operator && !is_same_origin(headers, app.settings.external_origin.as_deref()) {
        return refuse(StatusCode::FORBIDDEN, "another site asked for this change");
    }
    if who < Who::Operator && path != "/login" {
        return refuse(StatusCode::FORBIDDEN, "changes need the token: set serve.token-file and log in with it");
    }
    Ok(who)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The host of `Host` or of an origin, without port and brackets.
fn bare(host: &str) -> &str {
    if let Some((inner, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return inner;
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

/// Against names that somebody else's DNS lets point at loopback.
fn is_our_host(headers: &HeaderMap, external: Option<&str>) -> bool {
    let Some(host) = text(headers, header::HOST) else { return false };
    let name = bare(host);
    let is_loopback = name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let external = external.and_then(|origin| origin.split_once("://")).map(|(_, host)| bare(host));
    is_loopback || name.eq_ignore_ascii_case("localhost") || external.is_some_and(|own| own.eq_ignore_ascii_case(name))
}

fn is_same_origin(headers: &HeaderMap, external: Option<&str>) -> bool {
    let by_fetch = match text(headers, HeaderName::from_static("sec-fetch-site")) {
        Some(site) => matches!(site, "same-origin" | "none"),
        None => true,
    };
    let by_origin = match headers.get(header::ORIGIN) {
        None => true,
        Some(origin) => {
            let origin = origin.to_str().unwrap_or_default();
            let host = origin.split_once("://").map_or("", |(_, host)| host);
            let is_host = text(headers, header::HOST).is_some_and(|own| own.eq_ignore_ascii_case(host));
            !host.is_empty() && (is_host || external.is_some_and(|own| own.eq_ignore_ascii_case(origin)))
        }
    };
    by_fetch && by_origin
}

fn refused(app: &App, request: &Request, path: &str, refusal: Refusal) -> Response {
    let Refusal { status, why } = refusal;
    let is_program = path.starts_with("/api/") || path.starts_with("/v3/") || path == "/metrics" || path == "/events";
    let wants_page = text(request.headers(), header::ACCEPT).is_some_and(|accept| accept.contains("text/html"));
    if status == StatusCode::UNAUTHORIZED && wants_page && !is_program && app.settings.auth.token.is_some() {
        return Redirect::to("/login").into_response();
    }
    let mut response = match is_program {
        true => (status, Json(json!({ "error": why }))).into_response(),
        false => (status, format!("{why}\n")).into_response(),
    };
    if status == StatusCode::UNAUTHORIZED {
        let headers = response.headers_mut();
        if app.settings.auth.token.is_some() {
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"sordini\""));
        }
        if !app.settings.auth.users.is_empty() {
            let basic = HeaderValue::from_static("Basic realm=\"sordini\", charset=\"UTF-8\"");
            headers.append(header::WWW_AUTHENTICATE, basic);
        }
    }
    response
}

fn secure(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_SECURITY_POLICY, page::content_security_policy());
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_names_of_loopback_and_the_external_one_are_ours() {
        let ours = |host: &str| is_our_host(&headers(&[("host", host)]), Some("https://sordini.example.com"));
        for host in ["localhost", "LOCALHOST:9318", "127.0.0.1:9318", "127.3.4.5", "[::1]:9318", "sordini.example.com"]
        {
            assert!(ours(host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "[::2]:1"] {
            assert!(!ours(host), "{host}");
        }
        assert!(!is_our_host(&HeaderMap::new(), None));
    }

    #[test]
    fn a_change_comes_from_the_own_page() {
        let same = |pairs: &[(&'static str, &str)]| {
            let mut all = headers(pairs);
            all.insert(header::HOST, "localhost:9318".parse().unwrap());
            is_same_origin(&all, Some("https://sordini.example.com"))
        };
        assert!(same(&[]));
        assert!(same(&[("origin", "http://localhost:9318"), ("sec-fetch-site", "same-origin")]));
        assert!(same(&[("origin", "https://sordini.example.com")]));
        assert!(!same(&[("origin", "http://localhost:8080")]));
        assert!(!same(&[("origin", "null")]));
        assert!(!same(&[("origin", "http://evil.example")]));
        assert!(!same(&[("sec-fetch-site", "cross-site")]));
        assert!(!same(&[("sec-fetch-site", "same-site"), ("origin", "http://localhost:9318")]));
    }
}
