//! The table: worst groups first, one row per group and topic (or partition), with the reason behind each verdict.

use std::collections::BTreeMap;
use std::io::{self, Write};

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table, presets};

use super::{TableStyle, outcome};
use crate::lag::figure::Figure;
use crate::lag::snapshot::{GroupLag, PartitionLag, Snapshot, TimeLag};
use crate::lag::verdict::Verdict;
use crate::report::format::{duration, plural, seconds, thousands, visible};

/// Troubles listed.
const LISTED: usize = 10;

pub fn write(snapshot: &Snapshot, style: &TableStyle, out: &mut dyn Write) -> io::Result<()> {
    let mut groups: Vec<&GroupLag> = snapshot.groups.iter().collect();
    groups.sort_by(|a, b| b.judgement.verdict.cmp(&a.judgement.verdict).then_with(|| a.group.cmp(&b.group)));
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(style.width.min(usize::from(u16::MAX)) as u16);
    table.set_header([
        "GROUP",
        if style.by_partition { "PARTITION" } else { "TOPIC" },
        "LAG",
        "RECORDS",
        "TIME",
        "VERDICT",
        "WHY",
    ]);
    for group in groups {
        for row in rows(group, style.by_partition) {
            table.add_row(row.cells(style.color));
        }
    }
    for column in [2, 3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    writeln!(out, "{table}")?;
    for trouble in snapshot.troubles.iter().take(LISTED) {
        writeln!(out, "not asked: {}", visible(trouble))?;
    }
    writeln!(out, "\n{}", closing(snapshot))
}

fn closing(snapshot: &Snapshot) -> String {
    let outcome = outcome(snapshot);
    let bad = snapshot.groups.iter().filter(|group| group.judgement.verdict.is_bad()).count() as u64;
    let round = &snapshot.round;
    let groups = plural(snapshot.groups.len() as u64, "group");
    let verdict = match bad {
        0 => format!("{groups}, none in trouble"),
        _ => format!("{bad} of {groups} in trouble"),
    };
    format!(
        "{}: {verdict}; {} of {} evaluated in {} with {} (exit {})",
        outcome.name().to_uppercase(),
        thousands(round.evaluated as u64),
        plural(round.expected as u64, "partition"),
        seconds(round.seconds),
        plural(round.requests, "request"),
        outcome.exit()
    )
}

struct Row {
    group: String,
    place: String,
    lag: Figure,
    records: Figure,
    time: Option<(TimeLag, bool)>,
    verdict: Verdict,
    why: String,
}

impl Row {
    fn cells(self, color: bool) -> Vec<Cell> {
        let figure = |figure: Figure| figure.map_or("?".to_owned(), |n| thousands(n.max(0) as u64));
        let time = self.time.map_or("?".to_owned(), |(time, is_estimate)| {
            format!("{}{}", if is_estimate { "~" } else { "" }, duration(time.ms.max(0) as u64))
        });
        let verdict = Cell::new(self.verdict.name());
        let verdict = match (color, self.verdict) {
            (false, _) => verdict,
            (true, Verdict::Ok) => verdict.fg(Color::Green),
            (true, Verdict::Unknown | Verdict::Warn) => verdict.fg(Color::Yellow),
            (true, _) => verdict.fg(Color::Red),
        };
        vec![
            Cell::new(visible(&self.group)),
            Cell::new(visible(&self.place)),
            Cell::new(figure(self.lag)),
            Cell::new(figure(self.records)),
            Cell::new(time),
            verdict,
            Cell::new(visible(&self.why)),
        ]
    }
}

fn rows(group: &GroupLag, by_partition: bool) -> Vec<Row> {
    if group.partitions.is_empty() {
        let why = group.judgement.why.clone();
        let place = "-".to_owned();
        let (group, verdict) = (group.group.to_string(), group.judgement.verdict);
        let none = Err(crate::lag::figure::Unknown::NotApplicable);
        return vec![Row { group, place, lag: none, records: none, time: None, verdict, why }];
    }
    if by_partition {
        return group.partitions.iter().map(|p| row(group, format!("{}[{}]", p.topic, p.partition), &[p])).collect();
    }
    let mut topics: BTreeMap<&str, Vec<&PartitionLag>> = BTreeMap::new();
    for partition in &group.partitions {
        topics.entry(&partition.topic).or_default().push(partition);
    }
    topics.into_iter().map(|(topic, all)| row(group, topic.to_owned(), &all)).collect()
}

/// One row for some partitions: sums of lags, the oldest record, and the worst one's verdict.
fn row(group: &GroupLag, place: String, partitions: &[&PartitionLag]) -> Row {
    let sum = |of: &dyn Fn(&PartitionLag) -> Figure| -> Figure {
        let mut total = 0;
        for partition in partitions {
            total += of(partition)?;
        }
        Ok(total)
    };
    let oldest = partitions.iter().filter_map(|p| p.time.ok()).max_by_key(|time| time.ms);
    let mut worst = partitions[0];
    for &partition in partitions {
        let rank = |p: &PartitionLag| (p.judgement.verdict.is_bad(), p.judgement.verdict);
        if rank(partition) > rank(worst) {
            worst = partition;
        }
    }
    // What is true of the whole group stands above what is true of one partition.
    let is_group_wide = group.judgement.verdict > worst.judgement.verdict;
    let judgement = if is_group_wide { &group.judgement } else { &worst.judgement };
    let why = match partitions {
        [_] => judgement.why.clone(),
        _ if is_group_wide || judgement.verdict == Verdict::Ok => judgement.why.clone(),
        _ => format!("[{}] {}", worst.partition, judgement.why),
    };
    Row {
        group: group.group.to_string(),
        place,
        lag: sum(&|p| p.lag),
        records: sum(&|p| p.record_lag),
        time: oldest.map(|time| (time, time.at_least_ms != time.at_most_ms)),
        verdict: judgement.verdict,
        why,
    }
}
