//! The picture of every partition: its offsets from left to right, holes stacked by reason, findings as ticks above.

use std::collections::{BTreeSet, HashMap};

use super::Listing;
use crate::audit::coverage::{Cell, Hole, Strip};
use crate::audit::finding::{Finding, Span};
use crate::audit::verdict::Picture;
use crate::report::format::{place, span, thousands, utc};
use crate::report::{group, topics, words};

/// Partitions drawn; those with holes that nobody explains come first.
const PARTITIONS: usize = 200;
/// Units of the drawing.
pub const WIDTH: f64 = 960.0;
const TOP: f64 = 8.0;
const HEIGHT: f64 = 18.0;

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
    from: i64,
    offsets: i64,
}

impl StripRow {
    /// What hovering over a tick says: its place is known to one part in [`WIDTH`].
    pub fn says(&self, tick: &Tick) -> String {
        let what =
            ["loss or damage", "repetition", "order or time"].get(usize::from(tick.severity)).unwrap_or(&"finding");
        let offset = self.from.saturating_add((self.offsets as f64 * f64::from(tick.x) / WIDTH) as i64);
        format!("{what} near offset {offset}")
    }
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
    strip.cells.iter().any(|cell| topics::is_alarming(&cell.holes))
}

fn row(picture: &Picture, findings: &[(i64, u8)]) -> StripRow {
    let strip = &picture.strip;
    let offsets = end(strip).saturating_sub(strip.from).max(1);
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
        from: strip.from,
        offsets,
    }
}

fn blocks(strip: &Strip) -> Vec<Block> {
    let step = strip.width as f64 * WIDTH / end(strip).saturating_sub(strip.from).max(1) as f64;
    let is_full = |cell: &Cell| cell.holes.total() == 0 && cell.records > 0;
    let mut blocks = Vec::new();
    let mut at = 0;
    while let Some(cell) = strip.cells.get(at) {
        // Neighbours that hold nothing but records are one block: most of a healthy log.
        let alike = if is_full(cell) { strip.cells[at..].iter().take_while(|c| is_full(c)).count() } else { 1 };
        let x = at as f64 * step;
        let width = (alike as f64 * step).min(WIDTH - x);
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
    // Every reason gets its least height first and its share of the rest, so that none hides another.
    let reasons = Hole::ALL.into_iter().rev().filter(|&hole| cell.holes.get(hole) > 0);
    let rest = HEIGHT - reasons.clone().map(least).sum::<f64>();
    let mut top = 0.0;
    for hole in reasons {
        let height = least(hole) + cell.holes.get(hole) as f64 / total * rest;
        blocks.push(block(hole.name(), across, (top, height), title.clone()));
        top += height;
    }
}

/// An alarming reason is seen however small its share. All of them together fit the height.
fn least(hole: Hole) -> f64 {
    if topics::ALARMING.contains(&hole) { 3.0 } else { 1.0 }
}

fn block(class: &'static str, (x, width): (f64, f64), (y, height): (f64, f64), title: String) -> Block {
    let number = |n: f64| format!("{n:.2}");
    Block { class, x: number(x), y: number(TOP + y), width: number(width), height: number(height), title }
}

fn range(strip: &Strip, from: usize, until: usize) -> String {
    let at = |cell: usize| border(strip, cell).min(end(strip));
    format!("offsets {}", span(Span::new(at(from), at(until))))
}

/// First offset of a cell.
fn border(strip: &Strip, cell: usize) -> i64 {
    strip.from.saturating_add(strip.width.saturating_mul(cell as i64))
}

/// The end of what was read: the last cell is seldom full.
fn end(strip: &Strip) -> i64 {
    let Some(last) = strip.cells.last() else { return strip.from };
    let offsets = i64::try_from(last.records + last.holes.total()).unwrap_or(strip.width);
    border(strip, strip.cells.len() - 1).saturating_add(offsets.min(strip.width))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn blocks_fill_the_drawing_and_never_leave_it(
            from in 0i64..1_000,
            stretches in prop::collection::vec((1i64..900, prop::option::of(prop::sample::select(Hole::ALL.to_vec()))), 1..30),
        ) {
            let mut strip = Strip::new(from);
            let mut at = from;
            for (length, hole) in stretches {
                match hole {
                    Some(hole) => strip.add_hole(at, at + length, hole),
                    None => strip.add_records(at, at + length, length as u64, None),
                }
                at += length;
            }
            prop_assert_eq!(end(&strip), at);

            let number = |text: &str| text.parse::<f64>().unwrap();
            let blocks = blocks(&strip);
            let mut columns: BTreeMap<String, f64> = BTreeMap::new();
            for block in &blocks {
                prop_assert!(number(&block.x) + number(&block.width) <= WIDTH + 0.02);
                prop_assert!(number(&block.y) >= TOP && number(&block.y) + number(&block.height) <= TOP + HEIGHT + 0.02);
                columns.insert(block.x.clone(), number(&block.width));
            }
            prop_assert!((columns.values().sum::<f64>() - WIDTH).abs() < 1.5);
            for hole in Hole::ALL {
                let is_there = strip.cells.iter().any(|cell| cell.holes.get(hole) > 0);
                let visible = blocks.iter().any(|b| b.class == hole.name() && number(&b.height) > 0.0);
                prop_assert!(is_there == visible, "{}", hole.name());
            }
        }
    }
}
