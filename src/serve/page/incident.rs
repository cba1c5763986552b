//! One incident, and the two things a person may do about it.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Form};
use serde::Deserialize;

use super::parts::{Chip, Command, runbook, severity_mood, title};
use super::{Shell, message, missing, path, render};
use crate::alert::incident::Incident;
use crate::report::format::{ago, shorten, utc, visible};
use crate::serve::api::Failed;
use crate::serve::api::incidents::{Acknowledge, Mute, do_acknowledge, do_mute};
use crate::serve::app::App;
use crate::serve::auth::Who;
use crate::serve::guard::Caller;
use crate::serve::look::Drifts;
use crate::serve::metrics::incident_state;

type Fact = (&'static str, String, Option<String>);

#[derive(Template)]
#[template(path = "serve/incident.html")]
struct View {
    shell: Shell,
    mood: &'static str,
    title: String,
    chip: Chip,
    state: &'static str,
    facts: Vec<Fact>,
    runbook: Option<String>,
    command: Command,
    findings: Vec<(String, String)>,
    href: String,
    is_over: bool,
    is_muted: bool,
    may_change: bool,
    how_to_change: &'static str,
}

pub async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    let incidents = app.board.incidents.load();
    let Some(incident) = incidents.iter().find(|incident| incident.id == id) else {
        return missing(&app, &caller, "incident");
    };
    let state = incident_state(incident, app.now_ms());
    let title = title(incident);
    let findings = incident.observed.findings.iter();
    render(&View {
        shell: Shell::new(&app, &caller, "Overview", &title, incident.observed.why.clone()),
        mood: if state == "resolved" { "good" } else { severity_mood(incident.severity) },
        title,
        chip: Chip::severity(incident.severity),
        state,
        facts: facts(incident, &app.board.drifts.load(), app.now_ms()),
        runbook: runbook(incident),
        command: Command { text: visible(&incident.observed.command).into_owned() },
        findings: findings.map(|id| (visible(id).into_owned(), path("/findings", id))).collect(),
        href: path("/incidents", &incident.id),
        is_over: incident.resolved_ms.is_some(),
        is_muted: state == "muted",
        may_change: caller.who == Who::Operator,
        how_to_change: match app.settings.auth.token {
            Some(_) => "Log in to acknowledge or mute it.",
            None => "To acknowledge or mute it here, set serve.token-file and log in with the token.",
        },
    })
}

fn facts(incident: &Incident, drifts: &Drifts, now_ms: i64) -> Vec<Fact> {
    let moment = |ms: i64| format!("{} ({})", utc(ms), ago(ms, now_ms));
    let key = &incident.observed.key;
    let mut facts: Vec<Fact> = vec![("id", visible(&incident.id).into_owned(), None)];
    if let Some(group) = &key.group {
        facts.push(("group", visible(group).into_owned(), Some(path("/groups", group))));
    }
    if let Some(topic) = &key.topic {
        // A pair of stores stands under its own name.
        let is_pair = drifts.contains_key(topic);
        let (name, base) = if is_pair { ("pair", "/drift") } else { ("topic", "/topics") };
        facts.push((name, visible(topic).into_owned(), Some(path(base, topic))));
    }
    facts.push(("seen since", moment(incident.since_ms), None));
    let moments = [
        ("opened", incident.opened_ms),
        ("last seen", Some(incident.updated_ms)),
        ("resolved", incident.resolved_ms),
        ("muted until", incident.muted_until_ms.filter(|&until| until > now_ms)),
    ];
    facts.extend(moments.into_iter().filter_map(|(name, ms)| Some((name, moment(ms?), None))));
    if let Some(known) = &incident.acknowledged {
        let note = if known.note.is_empty() { String::new() } else { format!(": {}", shorten(&known.note, 500)) };
        facts.push(("acknowledged", format!("by {}, {}{note}", shorten(&known.by, 200), moment(known.at_ms)), None));
    }
    if !incident.route.is_empty() {
        facts.push(("told to", shorten(&incident.route.join(", "), 300), None));
    }
    facts
}

#[derive(Deserialize)]
pub struct AcknowledgeForm {
    csrf: String,
    by: String,
    #[serde(default)]
    note: String,
}

pub async fn acknowledge(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Form(form): Form<AcknowledgeForm>,
) -> Response {
    if !app.sessions.is_form_token(&caller.session, &form.csrf) {
        return stale(&app, &caller);
    }
    let body = Acknowledge { by: form.by, note: form.note };
    answer(&app, &caller, &id, do_acknowledge(&app, id.clone(), body).await)
}

#[derive(Deserialize)]
pub struct MuteForm {
    csrf: String,
    r#for: String,
}

pub async fn mute(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Form(form): Form<MuteForm>,
) -> Response {
    if !app.sessions.is_form_token(&caller.session, &form.csrf) {
        return stale(&app, &caller);
    }
    let body = Mute { until_ms: None, r#for: Some(form.r#for) };
    let done = do_mute(&app, id.clone(), body).await.map(|_| ());
    answer(&app, &caller, &id, done)
}

fn answer(app: &App, caller: &Caller, id: &str, done: Result<(), Failed>) -> Response {
    match done {
        Ok(()) => Redirect::to(&path("/incidents", id)).into_response(),
        Err(Failed(status, why)) => message(app, caller, status, "Not done", why),
    }
}

pub fn stale(app: &App, caller: &Caller) -> Response {
    let says = "This form is too old or came from elsewhere. Go back, reload the page and send it again.".to_owned();
    message(app, caller, StatusCode::FORBIDDEN, "Not done", says)
}
