//! Logging in with the token, so that a browser may change things.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Form};
use serde::Deserialize;

use super::incident::stale;
use super::{Shell, render};
use crate::serve::app::App;
use crate::serve::guard::Caller;

/// What a wrong guess costs.
const PENALTY: Duration = Duration::from_millis(500);

#[derive(Template)]
#[template(path = "serve/login.html")]
struct View {
    shell: Shell,
    trouble: Option<&'static str>,
}

fn form(app: &App, caller: &Caller, trouble: Option<&'static str>) -> Response {
    // Nobody who is not logged in learns anything here, not even the cluster's name.
    let mut shell = Shell::new(app, caller, "", "Log in", String::new());
    shell.cluster.clear();
    shell.may_log_in = false;
    render(&View { shell, trouble })
}

pub async fn show(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Response {
    match app.settings.auth.token {
        Some(_) => form(&app, &caller, None),
        None => Redirect::to("/").into_response(),
    }
}

#[derive(Deserialize)]
pub struct LogIn {
    csrf: String,
    token: String,
}

pub async fn log_in(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Form(sent): Form<LogIn>,
) -> Response {
    if !app.sessions.is_form_token(&caller.session, &sent.csrf) {
        return stale(&app, &caller);
    }
    if !app.settings.auth.is_token(sent.token.trim()) {
        tokio::time::sleep(PENALTY).await;
        return (StatusCode::FORBIDDEN, form(&app, &caller, Some("That is not the token."))).into_response();
    }
    with_session(&app, true, "/")
}

#[derive(Deserialize)]
pub struct LogOut {
    csrf: String,
}

pub async fn log_out(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Form(sent): Form<LogOut>,
) -> Response {
    match app.sessions.is_form_token(&caller.session, &sent.csrf) {
        true => with_session(&app, false, "/login"),
        false => stale(&app, &caller),
    }
}

fn with_session(app: &App, operator: bool, to: &str) -> Response {
    let session = app.sessions.begin(operator, app.now_ms());
    let cookie = app.sessions.cookie(&session, app.settings.tls.is_some());
    ([(header::SET_COOKIE, cookie)], Redirect::to(to)).into_response()
}
