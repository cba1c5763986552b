//! Pairs of stores: one that is followed, one that was never reached, and one with an evil name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{EVIL, NOON};
use crate::audit::verdict::Report;
use crate::report::sample as reports;
use crate::serve::board::DriftView;

pub fn pairs() -> BTreeMap<String, DriftView> {
    let all = [
        ("orders-table", Some(reports::drift()), None),
        ("fresh", None, Some("postgres db:5432/shop orders: connection refused")),
        (EVIL, Some(reports::hostile_drift()), Some(EVIL)),
    ];
    all.into_iter().map(|(name, report, trouble)| (name.to_owned(), pair(name, report, trouble))).collect()
}

fn pair(name: &str, report: Option<Report>, trouble: Option<&str>) -> DriftView {
    DriftView {
        name: name.to_owned(),
        about: format!("topic orders against table {name} by group sink, compared every 10m"),
        report: report.map(Arc::new),
        at_ms: NOON - 2_000,
        trouble: trouble.map(str::to_owned),
    }
}
