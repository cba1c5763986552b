//! The picture of every partition: its offsets from left to right, holes stacked by reason, findings as ticks above.

use std::collections::{BTreeSet, HashMap};

use super::Listing;
use crate::audit::coverage::{Cell, Hole, Strip};
use crate::audit::finding::Finding;
use crate::audit::verdict::Picture;
use crate::report::format::{place, span, thousands, utc};
use crate::report::{group, topics, words};

/// Partitions drawn; those with holes that nobody explains come first.
const PARTITIONS: usize = 200;
/// Units of the drawing.
pub const WIDTH: f64 = 960.0;
const TOP: f64 = 8.0;
const HEIGHT: f64 = 18.0;
/// An alarming hole is drawn at least this high, however small its share.
const LEAST: f64 = 4.0;

pub struct Strips {
    pub rows: Listing<StripRow>,
    /// Reasons that occur, for the legend.
    pub legend: Vec<&'static str>,
}

pub struct StripRow {
    pub label: String,
    pub range: String,
    pub blocks: Vec<Block>,
    pub ticks: Vec<Tick>,
}

pub struct Block {
    pub class: &'static str,
    pub x: String,
    pub y: String,
    pub width: String,
    pub height: String,
    pub title: String,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick {
    /// 0 loss and damage, 1 repetition, 2 order; the length of the tick says the same.
    pub severity: u8,
    pub x: u32,
}

impl Tick {
    pub fn top(&self) -> u8 {
        self.severity * 2
    }
}

pub fn strips(pictures: &[Picture], findings: &[Finding]) -> Strips {
    let offsets = offsets_by_partition(findings);
    let mut order: Vec<&Picture> = pictures.iter().collect();
    order.sort_by_key(|p| (!is_alarming(&p.strip), &p.topic, p.partition));
    order[..pictures.len().min(PARTITIONS)].sort_by_key(|p| (&p.topic, p.partition));

    let occurs = |hole: &Hole| pictures.iter().flat_map(|p| &p.strip.cells).any(|cell| cell.holes.get(*hole) > 0);
    Strips {
        rows: Listing::of(&order, PARTITIONS, |picture| {
            row(picture, offsets.get(&(picture.topic.as_str(), picture.partition)).map_or(&[], Vec::as_slice))
        }),
        legend: Hole::ALL.iter().filter(|hole| occurs(hole)).map(|hole| hole.name()).collect(),
    }
}

/// Where the open findings of each partition are, with their severity.
fn offsets_by_partition(findings: &[Finding]) -> HashMap<(&str, i32), Vec<(i64, u8)>> {
    let mut found: HashMap<(&str, i32), Vec<(i64, u8)>> = HashMap::new();
    for finding in findings.iter().filter(|f| f.is_open()) {
        let severity = group::severity(finding.kind);
        if let (Some(partition), Some(offsets)) = (finding.partition, finding.offsets) {
            found.entry((&finding.topic, partition)).or_default().push((offsets.from, severity));
        }
        for sighting in &finding.sightings {
            found.entry((&sighting.topic, sighting.partition)).or_default().push((sighting.offset, severity));
        }
    }
    found
}

fn is_alarming(strip: &Strip) -> bool {
    strip.cells.iter().any(|cell| topics::ALARMING.iter().any(|&hole| cell.holes.get(hole) > 0))
}

fn row(picture: &Picture, findings: &[(i64, u8)]) -> StripRow {
    let strip = &picture.strip;
    let offsets = strip.width.saturating_mul(strip.cells.len() as i64).max(1);
    let ticks: BTreeSet<Tick> = findings
        .iter()
        .filter(|(offset, _)| (strip.from..strip.from.saturating_add(offsets)).contains(offset))
        .map(|&(offset, severity)| Tick { severity, x: ((offset - strip.from) as f64 / offsets as f64 * WIDTH) as u32 })
        .collect();
    StripRow {
        label: place(&picture.topic, Some(picture.partition)),
        range: range(strip, 0, strip.cells.len()),
        blocks: blocks(strip),
        ticks: ticks.into_iter().collect(),
    }
}

fn blocks(strip: &Strip) -> Vec<Block> {
    let step = WIDTH / strip.cells.len().max(1) as f64;
    let is_full = |cell: &Cell| cell.holes.total() == 0 && cell.records > 0;
    let mut blocks = Vec::new();
    let mut at = 0;
    while let Some(cell) = strip.cells.get(at) {
        // Neighbours that hold nothing but records are one block: most of a healthy log.
        let alike = if is_full(cell) { strip.cells[at..].iter().take_while(|c| is_full(c)).count() } else { 1 };
        let (x, width) = (at as f64 * step, alike as f64 * step);
        if is_full(cell) {
            blocks.push(block("records", (x, width), (0.0, HEIGHT), range(strip, at, at + alike)));
        } else {
            stack(strip, at, (x, width), &mut blocks);
        }
        at += alike;
    }
    blocks
}

/// One cell: records at the foot, each reason above in its share.
fn stack(strip: &Strip, at: usize, across: (f64, f64), blocks: &mut Vec<Block>) {
    let cell = &strip.cells[at];
    let total = (cell.records + cell.holes.total()) as f64;
    let mut title =
        format!("{}: {} records, {}", range(strip, at, at + 1), thousands(cell.records), words::holes(&cell.holes));
    if let Some((first, last)) = cell.times {
        title += &format!(", {} to {}", utc(first), utc(last));
    }
    if cell.records > 0 {
        blocks.push(block("records", across, (0.0, HEIGHT), title.clone()));
    }
    let mut top = 0.0;
    for hole in Hole::ALL.into_iter().rev().filter(|&hole| cell.holes.get(hole) > 0) {
        let share = cell.holes.get(hole) as f64 / total * HEIGHT;
        let is_alarm = topics::ALARMING.contains(&hole);
        let height = if is_alarm { share.max(LEAST) } else { share.max(1.0) }.min(HEIGHT - top);
        blocks.push(block(hole.name(), across, (top, height), title.clone()));
        top += height;
    }
}

fn block(class: &'static str, (x, width): (f64, f64), (y, height): (f64, f64), title: String) -> Block {
    let number = |n: f64| format!("{n:.2}");
    Block { class, x: number(x), y: number(TOP + y), width: number(width), height: number(height.max(0.0)), title }
}

fn range(strip: &Strip, from: usize, until: usize) -> String {
    let at = |cell: usize| strip.from.saturating_add(strip.width.saturating_mul(cell as i64));
    format!("offsets {}", span(crate::audit::finding::Span::new(at(from), at(until))))
}
