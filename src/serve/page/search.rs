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
use crate::report::format::{plural, shorten, utc, visible};
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
    /// All of it in one sentence, where there is one.
    says: Option<String>,
    fields: Vec<(String, String)>,
    tables: Vec<Table>,
}

struct Table {
    name: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
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
        Ok(mut found) => {
            // What a transaction says as a whole comes first.
            found.sort_by_key(|line| line["type"] != "transaction");
            (found, None)
        }
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
            return Self { says: None, fields: vec![("answer".to_owned(), text(value))], tables: vec![] };
        };
        let is_transaction = fields.get("type").is_some_and(|kind| kind == "transaction");
        let table = |(name, value): (&String, &Value)| match name.as_str() {
            "stages" if is_transaction => Some(Table::of_stages(name, value.as_array()?)),
            _ => Table::of(name, value.as_array()?),
        };
        let tables: Vec<Table> = fields.iter().filter_map(table).collect();
        let is_plain = |name: &str| name != "says" && !tables.iter().any(|table| table.name == name);
        let plain = fields.iter().filter(|(name, _)| is_plain(name));
        Self {
            says: fields.get("says").map(text),
            fields: plain.map(|(name, value)| (visible(name).into_owned(), text(value))).collect(),
            tables,
        }
    }
}

impl Table {
    /// Any list of objects is a table: sightings, arrivals, findings.
    fn of(name: &str, rows: &[Value]) -> Option<Self> {
        rows.first().filter(|row| row.is_object())?;
        let objects = rows.iter().take(SIGHTINGS).filter_map(Value::as_object);
        let names: BTreeSet<&String> = objects.clone().flat_map(|row| row.keys()).collect();
        let rows = objects.map(|row| names.iter().map(|name| row.get(*name).map(text).unwrap_or_default()).collect());
        Some(Self {
            name: visible(name).into_owned(),
            rows: rows.collect(),
            columns: names.iter().map(|name| visible(name).into_owned()).collect(),
        })
    }

    /// A transaction's stages in the order of its flow.
    fn of_stages(name: &str, stages: &[Value]) -> Self {
        let list = |value: &Value| {
            let parts = value.as_array().into_iter().flatten().map(text);
            parts.collect::<Vec<_>>().join(", ")
        };
        let row = |stage: &Value| {
            vec![
                text(&stage["stage"]),
                text(&stage["status"]),
                list(&stage["sightings"]),
                stage["read_until"].as_i64().map(utc).unwrap_or_default(),
                list(&stage["not_covered"]),
                text(&stage["why"]),
            ]
        };
        Self {
            name: name.to_owned(),
            columns: ["stage", "status", "seen at", "read until", "not covered", "why"].map(str::to_owned).into(),
            rows: stages.iter().map(row).collect(),
        }
    }
}

fn text(value: &Value) -> String {
    shorten(value.as_str().unwrap_or(&value.to_string()), 500)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_transaction_is_shown_stage_by_stage_with_what_is_missing() {
        let stage = |stage: &str, status: &str, at: &[&str], why: &str| json!({"stage": stage, "topic": stage, "status": status, "sightings": at, "read_until": 0, "not_covered": [], "why": why});
        let answer = Answer::of(&json!({
            "type": "transaction", "flow": "f", "says": "lost", "findings": [{"id": "1", "kind": "missing-stage"}],
            "stages": [stage("orders", "seen", &["orders[0]@1"], ""), stage("cash", "lost", &[], "not at cash\u{1b}")],
        }));
        let tables: Vec<&str> = answer.tables.iter().map(|table| table.name.as_str()).collect();
        assert_eq!((answer.says.as_deref(), tables), (Some("lost"), vec!["findings", "stages"]));
        let rows = &answer.tables[1].rows;
        assert_eq!(rows[0][..4], ["orders", "seen", "orders[0]@1", "1970-01-01T00:00:00Z"]);
        assert_eq!(rows[1][5], "not at cash\\u{1b}");
        assert_eq!(answer.fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["flow", "type"]);
    }
}
