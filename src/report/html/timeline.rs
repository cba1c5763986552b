//! Findings over the time of the records, one lane for each kind.

use std::collections::BTreeMap;

use crate::audit::finding::{Finding, Kind};
use crate::report::format::{plural, utc};
use crate::report::group;

/// Places on the time axis; findings that share one are a higher bar.
const PLACES: usize = 160;
const LEFT: f64 = 160.0;
const WIDTH: f64 = 800.0;
const LANE: f64 = 26.0;

pub struct Timeline {
    pub height: f64,
    pub lanes: Vec<Lane>,
    pub first: String,
    pub last: String,
}

pub struct Lane {
    pub kind: &'static str,
    /// Base line.
    pub y: f64,
    pub bars: Vec<Bar>,
}

pub struct Bar {
    pub is_resolved: bool,
    pub x: String,
    pub y: String,
    pub height: String,
    pub title: String,
}

#[derive(Default)]
struct Place {
    findings: u64,
    open: u64,
    /// First time seen there.
    first: i64,
}

pub fn timeline(findings: &[Finding]) -> Option<Timeline> {
    let seen: Vec<(i64, &Finding)> = findings.iter().filter_map(|f| Some((group::times(f)?.0, f))).collect();
    let first = seen.iter().map(|s| s.0).min()?;
    let last = seen.iter().map(|s| s.0).max()?;
    let length = last.abs_diff(first).max(1) as f64;

    let mut lanes: BTreeMap<Kind, BTreeMap<usize, Place>> = BTreeMap::new();
    for (time, finding) in seen {
        let index = (time.abs_diff(first) as f64 / length * (PLACES - 1) as f64) as usize;
        let place = lanes.entry(finding.kind).or_default().entry(index).or_default();
        place.first = if place.findings == 0 { time } else { place.first.min(time) };
        place.findings += 1;
        place.open += u64::from(finding.is_open());
    }
    let most = lanes.values().flat_map(BTreeMap::values).map(|place| place.findings).max().unwrap_or(1);
    let height = lanes.len() as f64 * LANE;
    let lanes =
        lanes.into_iter().enumerate().map(|(number, (kind, places))| lane(number, kind, &places, most)).collect();
    Some(Timeline { height, lanes, first: utc(first), last: utc(last) })
}

fn lane(number: usize, kind: Kind, places: &BTreeMap<usize, Place>, most: u64) -> Lane {
    let y = (number + 1) as f64 * LANE - 2.0;
    let bars = places.iter().map(|(&index, place)| {
        // By logarithm, so that one finding is seen beside thousands.
        let height = 6.0 + (LANE - 10.0) * (place.findings as f64).ln() / (most as f64).ln().max(1.0);
        Bar {
            is_resolved: place.open == 0,
            x: format!("{:.1}", LEFT + index as f64 * WIDTH / PLACES as f64),
            y: format!("{:.1}", y - height),
            height: format!("{height:.1}"),
            title: format!("{}: {} from {}", kind, plural(place.findings, "finding"), utc(place.first)),
        }
    });
    Lane { kind: kind.name(), y, bars: bars.collect() }
}
