//! Small bar charts of how far records were out of order.

use crate::audit::verdict::Figures;
use crate::report::format::{plural, thousands};

const HEIGHT: f64 = 80.0;
const STEP: usize = 12;
/// Entries of the n-reordering drawn.
const ENTRIES: usize = 64;

pub struct Chart {
    pub title: &'static str,
    pub about: &'static str,
    pub width: usize,
    pub most: String,
    pub first: String,
    pub last: String,
    pub bars: Vec<Bar>,
}

pub struct Bar {
    pub x: usize,
    pub y: String,
    pub height: String,
    pub title: String,
}

pub fn charts(figures: &Figures) -> Vec<Chart> {
    let degrees = figures.n_reordering.iter().take(ENTRIES).enumerate();
    let n_reordering: Vec<(i64, u64)> = degrees.map(|(i, &records)| (i as i64 + 1, records)).collect();
    let density: Vec<(i64, u64)> = figures.reorder_density.iter().map(|&(d, records)| (d.into(), records)).collect();
    let charts = [
        chart(
            "n-reordering",
            "records that at least n later ones overtook (RFC 4737 §5); the last bar holds all beyond",
            &n_reordering,
        ),
        chart(
            "Reorder density",
            "records by displacement: left of the middle early, right of it late (RFC 5236); in place left out",
            &density,
        ),
    ];
    charts.into_iter().flatten().collect()
}

/// Bars stand at their value, so an empty place is seen as empty.
fn chart(title: &'static str, about: &'static str, values: &[(i64, u64)]) -> Option<Chart> {
    let first = values.iter().map(|v| v.0).min()?;
    let last = values.iter().map(|v| v.0).max()?;
    let most = values.iter().map(|v| v.1).max().filter(|&most| most > 0)?;
    let bars = values.iter().filter(|v| v.1 > 0).map(|&(value, records)| {
        let height = (records as f64 / most as f64 * HEIGHT).max(1.0);
        Bar {
            x: value.abs_diff(first) as usize * STEP,
            y: format!("{:.1}", HEIGHT - height),
            height: format!("{height:.1}"),
            title: format!("{value}: {}", plural(records, "record")),
        }
    });
    Some(Chart {
        title,
        about,
        width: (last.abs_diff(first) as usize + 1) * STEP,
        most: thousands(most),
        first: first.to_string(),
        last: last.to_string(),
        bars: bars.collect(),
    })
}
