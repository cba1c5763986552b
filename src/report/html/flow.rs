//! A flow as a drawing: stages as boxes, hops as arrows as wide as what passes, losses falling out of them.

use super::clean;
use crate::audit::flows::summary::{FlowSummary, HopSummary, StageSummary};
use crate::report::flow::{self, HopLine};
use crate::report::format::{duration, shorten, thousands};

const BOX: (f64, f64) = (150.0, 46.0);
/// From one column, or row, to the next.
const STEP: (f64, f64) = (370.0, 104.0);
const MARGIN: f64 = 10.0;
/// A branch bends to its row within this; beside it nothing is written.
const BEND: f64 = 60.0;
/// Widest arrow.
const WIDEST: f64 = 14.0;
/// Stages drawn; a table beside it has them all.
const DRAWN: usize = 32;

pub struct Drawing {
    pub name: String,
    pub width: f64,
    pub height: f64,
    pub boxes: Vec<StageBox>,
    pub arrows: Vec<Arrow>,
    pub hops: Vec<HopLine>,
    pub remarks: Vec<String>,
}

pub struct StageBox {
    pub x: f64,
    pub y: f64,
    pub name: String,
    pub seen: String,
}

pub struct Arrow {
    pub path: String,
    pub width: f64,
    /// Where the words above and below it stand.
    pub at: (f64, f64),
    /// Where losses fall out of it.
    pub leak: (f64, f64),
    pub passed: String,
    pub latency: String,
    /// What did not arrive.
    pub lost: Option<String>,
}

pub fn drawing(summary: &FlowSummary) -> Drawing {
    let stages = &summary.stages[..summary.stages.len().min(DRAWN)];
    let places = places(stages);
    let most = stages.iter().filter_map(|stage| stage.hop.as_ref()).map(|hop| hop.matched).max().unwrap_or(1).max(1);
    let corner = |(column, row): (usize, usize)| (MARGIN + column as f64 * STEP.0, MARGIN + row as f64 * STEP.1);
    let boxes = stages.iter().zip(&places).map(|(stage, place)| {
        let (x, y) = corner(*place);
        StageBox { x, y, name: shorten(&stage.stage, 18), seen: format!("{} seen", thousands(stage.seen)) }
    });
    let arrow = |(stage, place): (&StageSummary, &(usize, usize))| {
        let hop = stage.hop.as_ref()?;
        let upstream = stages.iter().position(|other| other.stage == hop.after)?;
        let ((x1, y1), (x2, y2)) = (corner(places[upstream]), corner(*place));
        let (x1, y1, y2) = (x1 + BOX.0, y1 + BOX.1 / 2.0, y2 + BOX.1 / 2.0);
        let (half, bent) = (x1 + BEND / 2.0, x1 + BEND);
        Some(Arrow {
            path: format!("M{x1} {y1}C{half} {y1} {half} {y2} {bent} {y2}H{x2}"),
            width: (WIDEST * hop.matched as f64 / most as f64).max(1.5),
            at: ((bent + x2) / 2.0, y2),
            leak: (bent, y2),
            passed: passed(hop),
            latency: latency(hop),
            lost: (hop.missing > 0).then(|| format!("{} missing", thousands(hop.missing))),
        })
    };
    let columns = places.iter().map(|place| place.0).max().unwrap_or(0);
    let rows = places.iter().map(|place| place.1).max().unwrap_or(0);
    Drawing {
        name: clean(&summary.flow),
        width: 2.0 * MARGIN + columns as f64 * STEP.0 + BOX.0,
        height: 2.0 * MARGIN + rows as f64 * STEP.1 + BOX.1 + 34.0,
        boxes: boxes.collect(),
        arrows: stages.iter().zip(&places).filter_map(arrow).collect(),
        hops: flow::hops(summary).into_iter().map(|line| HopLine { hop: clean(&line.hop), ..line }).collect(),
        remarks: flow::remarks(summary).iter().map(|remark| clean(remark)).collect(),
    }
}

/// Column and row of each stage: a stage stands right of the one it comes after, further branches below the first.
fn places(stages: &[StageSummary]) -> Vec<(usize, usize)> {
    let mut places: Vec<(usize, usize)> = Vec::with_capacity(stages.len());
    for stage in stages {
        let upstream = stage.hop.as_ref().and_then(|hop| stages.iter().position(|other| other.stage == hop.after));
        let (column, mut row) = match upstream.and_then(|at| places.get(at)) {
            Some(&(column, row)) => (column + 1, row),
            None => (0, 0),
        };
        while places.contains(&(column, row)) {
            row += 1;
        }
        places.push((column, row));
    }
    places
}

fn passed(hop: &HopSummary) -> String {
    let rate = hop.per_second.map(|rate| format!(", {rate:.1}/s")).unwrap_or_default();
    format!("{}{rate}", thousands(hop.matched))
}

fn latency(hop: &HopSummary) -> String {
    hop.latency_ms.map(|[p50, _, p99, ..]| format!("p50 {}, p99 {}", duration(p50), duration(p99))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_branch_stands_below_its_sibling_and_losses_are_told() {
        let mut summary = sample::flow().summary.flow.unwrap();
        let mut branch = summary.stages[1].clone();
        branch.stage = "refunds".to_owned();
        summary.stages.push(branch);
        let drawing = drawing(&summary);
        let at = |name: &str| drawing.boxes.iter().find(|b| b.name == name).map(|b| (b.x, b.y)).unwrap();
        assert_eq!(at("payments").0, at("refunds").0);
        assert!(at("refunds").1 > at("payments").1 && at("letters").0 > at("payments").0);
        assert_eq!(drawing.arrows.len(), 4);
        assert_eq!(drawing.arrows[0].lost.as_deref(), Some("125 missing"));
        assert!(drawing.boxes.iter().all(|b| b.x + BOX.0 <= drawing.width && b.y + BOX.1 <= drawing.height));
    }
}
