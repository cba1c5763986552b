//! One group: its lag over time, what is expected, its verdicts with reasons, its partitions.

use std::cmp::Reverse;
use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;

use super::curve::{Curve, curve};
use super::groups::GroupRow;
use super::parts::{Chip, Command, Fig, expected, mood, quoted, signed};
use super::{Shell, missing, path, render};
use crate::lag::snapshot::{GroupLag, PartitionLag};
use crate::report::format::{ago, duration, place, shorten, utc, visible};
use crate::report::html::Listing;
use crate::serve::app::App;
use crate::serve::guard::Caller;

const PARTS: usize = 500;
const HISTORY: usize = 50;

#[derive(Template)]
#[template(path = "serve/group.html")]
struct View {
    shell: Shell,
    mood: &'static str,
    row: GroupRow,
    about: String,
    curve: Option<Curve>,
    forecasts: Vec<(String, String)>,
    command: Command,
    history: Vec<Past>,
    parts: Listing<Part>,
}

struct Past {
    chip: Chip,
    when: String,
    why: String,
}

struct Part {
    place: String,
    href: String,
    chip: Chip,
    committed: Fig,
    end: Fig,
    lag: Fig,
    records: Fig,
    time: Fig,
    lost: Fig,
    owner: String,
    why: String,
}

pub async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    let lag = app.board.lag.load();
    let Some(group) = lag.groups.iter().find(|group| *group.group == *name) else {
        return missing(&app, &caller, "group");
    };
    let now_ms = app.now_ms();
    let says = format!("{} is {}: {}", shorten(&name, 80), group.judgement.verdict, group.judgement.why);
    let mut parts: Vec<&PartitionLag> = group.partitions.iter().collect();
    parts.sort_by_key(|part| Reverse(part.judgement.verdict));
    let past = |change: &crate::lag::snapshot::Change| Past {
        chip: Chip::verdict(change.verdict),
        when: format!("{}, {}", utc(change.at_ms), ago(change.at_ms, now_ms)),
        why: visible(&change.why).into_owned(),
    };
    render(&View {
        shell: Shell::new(&app, &caller, "Groups", &name, says),
        mood: mood(group.judgement.verdict),
        row: GroupRow::of(group),
        about: about(group),
        curve: curve(group, now_ms),
        forecasts: group.forecasts.iter().map(|forecast| expected(forecast, now_ms)).collect(),
        command: Command { text: format!("sordini lag -g {}", quoted(&literal(&name))) },
        history: group.history.iter().rev().take(HISTORY).map(past).collect(),
        parts: Listing::of(&parts, PARTS, |part| Part::of(part)),
    })
}

/// A name as a pattern that fits it alone; what has no meaning in a pattern stays as people know it.
fn literal(name: &str) -> String {
    let has_meaning = |c: char| r".+*?()|[]{}^$\".contains(c);
    name.chars().flat_map(|c| has_meaning(c).then_some('\\').into_iter().chain([c])).collect()
}

fn about(group: &GroupLag) -> String {
    let state = group.state.map_or_else(|why| format!("state unknown: {why}"), |state| state.name().to_owned());
    let isolation = match (group.read_committed, group.isolation_is_guess) {
        (true, false) => "reads committed records",
        (true, true) => "reads committed records (a guess)",
        (false, false) => "reads uncommitted records, too",
        (false, true) => "reads uncommitted records, too (a guess)",
    };
    let (from, until) = group.judgement.window_ms;
    let window = duration(until.saturating_sub(from).max(0).unsigned_abs());
    let numbers: Vec<String> = group.judgement.numbers.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let numbers = if numbers.is_empty() { String::new() } else { format!("; {}", numbers.join(", ")) };
    format!("{} protocol, {state}, {isolation}; looked at {window}{numbers}", group.kind.name())
}

impl Part {
    fn of(part: &PartitionLag) -> Self {
        let time = |time: crate::lag::snapshot::TimeLag| {
            let ms = |ms: i64| duration(ms.max(0).unsigned_abs());
            match time.at_least_ms == time.at_most_ms {
                true => ms(time.ms),
                false => format!("{} ({} to {})", ms(time.ms), ms(time.at_least_ms), ms(time.at_most_ms)),
            }
        };
        let owner = part.owner.as_ref().map(|(client, host)| format!("{} {}", shorten(client, 40), shorten(host, 40)));
        Self {
            place: place(&part.topic, Some(part.partition)),
            href: path("/topics", &part.topic),
            chip: Chip::verdict(part.judgement.verdict),
            committed: Fig::offset(part.committed),
            end: Fig::offset(part.end),
            lag: Fig::count(part.lag),
            records: Fig::count(part.record_lag),
            time: Fig::of(part.time, time),
            lost: match part.lost_total {
                0 => Fig::count(part.lost),
                all => Fig { text: signed(all), why: None },
            },
            owner: owner.unwrap_or_default(),
            why: visible(&part.judgement.why).into_owned(),
        }
    }
}
