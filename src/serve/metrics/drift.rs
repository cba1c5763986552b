//! What is known of pairs of stores, as samples.

use std::collections::BTreeMap;

use super::lag::seconds;
use super::own::{All, family};
use super::table::{self as t, Family};
use super::text::Value;
use crate::audit::drift::{DriftSummary, Following};
use crate::audit::finding::{Grade, Kind, State};
use crate::serve::board::DriftView;

type Drifts = BTreeMap<String, DriftView>;

pub fn drifts(drifts: &Drifts, all: &mut All) {
    let reports = || drifts.iter().filter_map(|(name, drift)| Some((name.as_str(), drift.report.as_deref()?)));
    let summaries = || reports().filter_map(|(name, report)| Some((name, report.summary.drift.as_ref()?)));
    let followings = || summaries().filter_map(|(name, drift)| Some((name, drift.following.as_ref()?)));
    family(all, &t::DRIFT_VERDICT, |s| {
        reports().for_each(|(name, report)| s.add([name.into(), report.summary.verdict.name().into()], 1i64));
    });
    family(all, &t::DRIFT_RUNNING, |s| {
        drifts.iter().for_each(|(name, drift)| s.add([name.as_str().into()], i64::from(drift.trouble.is_none())));
    });
    family(all, &t::DRIFT_KEYS, |s| {
        for (name, age) in followings().flat_map(|(name, following)| following.wrong.iter().map(move |age| (name, age)))
        {
            s.add([name.into(), age.age.as_str().into()], age.keys);
        }
    });
    type OfFollowing = fn(&Following) -> Option<Value>;
    let of_following: [(&'static Family, OfFollowing); 7] = [
        (&t::DRIFT_COMPARED, |f| f.compared_ms.map(|ms| seconds(ms).into())),
        (&t::DRIFT_COMPARISON, |f| f.comparison_ms.map(|ms| seconds(ms).into())),
        (&t::DRIFT_SECONDS, |f| f.comparison_ms.map(|_| f.comparison_seconds.into())),
        (&t::DRIFT_COMPARISONS, |f| Some(f.comparisons.into())),
        (&t::DRIFT_CHECKED, |f| Some(f.checked.into())),
        (&t::DRIFT_HEALED, |f| Some(f.resolved.into())),
        (&t::DRIFT_WAITING, |f| Some(f.waiting.into())),
    ];
    for (f, figure) in of_following {
        family(all, f, |s| {
            for (name, following) in followings() {
                if let Some(value) = figure(following) {
                    s.add([name.into()], value);
                }
            }
        });
    }
    type OfSummary = fn(&DriftSummary) -> u64;
    let of_summary: [(&'static Family, OfSummary); 4] = [
        (&t::DRIFT_FIRST, |d| d.keys),
        (&t::DRIFT_SECOND, |d| d.rows),
        (&t::DRIFT_SUSPECTS, |d| d.suspects),
        (&t::DRIFT_TABLE_BYTES, |d| d.table_bytes),
    ];
    for (f, figure) in of_summary {
        family(all, f, |s| summaries().for_each(|(name, drift)| s.add([name.into()], figure(drift))));
    }
    family(all, &t::DRIFT_TOPIC_BYTES, |s| {
        reports().for_each(|(name, report)| s.add([name.into()], report.summary.figures.bytes));
    });
    family(all, &t::DRIFT_UNVERIFIABLE, |s| {
        for (name, drift) in summaries() {
            for (reason, keys) in &drift.unverifiable {
                s.add([name.into(), reason.as_str().into()], *keys);
            }
        }
    });
    family(all, &t::DRIFT_LAWS, |s| {
        for (name, law) in summaries().flat_map(|(name, drift)| drift.laws.iter().map(move |law| (name, law))) {
            if law.unjudged.is_none() {
                s.add([name.into(), law.law.as_str().into()], law.wrong);
            }
        }
    });
    findings(drifts, all);
}

fn findings(drifts: &Drifts, all: &mut All) {
    let mut found: BTreeMap<(&str, Kind, Grade, bool), u64> = BTreeMap::new();
    for (name, drift) in drifts {
        for finding in drift.report.iter().flat_map(|report| &report.findings) {
            *found.entry((name, finding.kind, finding.grade, finding.state == State::Open)).or_default() += 1;
        }
    }
    family(all, &t::DRIFT_FINDINGS, |s| {
        for ((name, kind, grade, open), findings) in found {
            let state = if open { "open" } else { "resolved" };
            s.add([name.into(), kind.name().into(), grade.name().into(), state.into()], findings);
        }
    });
}
