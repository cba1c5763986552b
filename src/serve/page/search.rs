//! Where a record was seen.

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;

use super::{Shell, render};
use crate::report::format::{plural, shorten, visible};
use crate::report::html::Listing;
use crate::serve::app::App;
use crate::serve::guard::Caller;

const ANSWERS: usize = 50;
const SIGHTINGS: usize = 200;

#[derive(Template)]
#[template(path = "serve/search.html")]
struct View {
    shell: Shell,
    id: String,
    trouble: Option<String>,
    found: Listing<Answer>,
}

struct Answer {
    fields: Vec<(String, String)>,
    columns: Vec<String>,
    sightings: Vec<Vec<String>>,
}

#[derive(Deserialize)]
pub struct Sought {
    #[serde(default)]
    id: String,
}

pub async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Query(sought): Query<Sought>,
) -> Response {
    let id = sought.id.trim().to_owned();
    let answer = match id.is_empty() {
        true => Ok(Vec::new()),
        false => {
            let id = id.clone();
            app.act(move |actions| actions.search(&id)).await
        }
    };
    let (found, trouble) = match answer {
        Ok(found) => (found, None),
        Err(why) => (Vec::new(), Some(visible(&why).into_owned())),
    };
    let says = match (id.is_empty(), found.len()) {
        (true, _) => "Search by id.".to_owned(),
        (_, 0) => format!("Nothing is known of {}.", shorten(&id, 80)),
        (_, some) => format!("{} about {}.", plural(some as u64, "answer"), shorten(&id, 80)),
    };
    render(&View {
        shell: Shell::new(&app, &caller, "Search", "Search", says),
        id: visible(&id).into_owned(),
        trouble,
        found: Listing::of(&found, ANSWERS, Answer::of),
    })
}

impl Answer {
    fn of(value: &Value) -> Self {
        let Value::Object(fields) = value else {
            return Self { fields: vec![("answer".to_owned(), text(value))], columns: vec![], sightings: vec![] };
        };
        // Any list of objects is a table: sightings, arrivals.
        let is_table = |value: &&Value| value.as_array().is_some_and(|a| a.first().is_some_and(Value::is_object));
        let rows: Vec<&Value> =
            fields.values().filter(is_table).filter_map(Value::as_array).flatten().take(SIGHTINGS).collect();
        let names: BTreeSet<&String> =
            rows.iter().filter_map(|row| row.as_object()).flat_map(|row| row.keys()).collect();
        let cells = |row: &&Value| names.iter().map(|name| row.get(*name).map(text).unwrap_or_default()).collect();
        let plain = fields.iter().filter(|(_, value)| !is_table(value));
        Self {
            fields: plain.map(|(name, value)| (visible(name).into_owned(), text(value))).collect(),
            columns: names.iter().map(|name| visible(name).into_owned()).collect(),
            sightings: rows.iter().map(cells).collect(),
        }
    }
}

fn text(value: &Value) -> String {
    shorten(value.as_str().unwrap_or(&value.to_string()), 500)
}
