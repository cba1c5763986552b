//! The report for a person at a terminal: the verdict first, then what, where, how many and since when, then detail.

mod page;

use std::io::{self, Write};

use self::page::{Page, Style};
use super::Context;
use super::format::{ago, bytes, percent, plural, runs, seconds, utc};
use super::group::{self, Group};
use super::{format, topics, words};
use crate::audit::finding::{Finding, Grade, Span};
use crate::audit::verdict::{Report, Summary, Verdict};

/// Examples shown of each group; the JSON report lists all.
const EXAMPLES: usize = 3;
/// Open groups shown with detail.
const DETAILED: usize = 20;
/// Smaller groups, and topics, that get one line each.
const BRIEF: usize = 40;
/// Unread parts and records without identity shown.
const LISTED: usize = 12;

pub(super) fn write(report: &Report, context: &Context, out: &mut dyn Write) -> io::Result<()> {
    let page = &mut Page::new(out, context.color, context.width);
    let groups = group::groups(&report.findings);
    let (open, resolved): (Vec<_>, Vec<_>) = groups.iter().partition(|g| g.is_open());

    verdict(report, context, page)?;
    unread(&report.summary, page)?;
    findings(&open, context, page)?;
    resolved_findings(&resolved, page)?;
    flow(&report.summary, page)?;
    drift(&report.summary, page)?;
    coverage(report, page)?;
    not_checked(report, page)?;
    searched(report, page)?;
    remarks(&report.summary, page)?;
    closing(report, page)
}

pub(super) fn write_finding(finding: &Finding, context: &Context, out: &mut dyn Write) -> io::Result<()> {
    let style = if finding.is_open() { grade_style(finding.grade) } else { Style::Good };
    Page::new(out, context.color, usize::MAX).text(0, style, &words::line(finding))
}

/// Each pair as a report of its own, with what became of all of them behind.
pub(super) fn write_pairs(
    pairs: &[(String, Report)],
    all: &Report,
    context: &Context,
    out: &mut dyn Write,
) -> io::Result<()> {
    for (name, report) in pairs {
        let source = match &report.summary.drift {
            Some(drift) => format!("{name}: {} against {}", drift.first, drift.second),
            None => name.clone(),
        };
        write(report, &Context { source, ..context.clone() }, out)?;
        writeln!(out)?;
    }
    let page = &mut Page::new(out, context.color, context.width);
    verdict(all, context, page)?;
    all.summary.pairs.iter().try_for_each(|pair| page.text(2, Style::Plain, &super::drift::pair(pair)))
}

fn verdict(report: &Report, context: &Context, page: &mut Page<'_>) -> io::Result<()> {
    let summary = &report.summary;
    let style = match summary.verdict {
        Verdict::Clean => Style::Good,
        Verdict::Findings | Verdict::Unverified => Style::Bad,
        Verdict::Inconclusive => Style::Warn,
    };
    page.block(
        style,
        &summary.verdict.name().to_uppercase(),
        14,
        &format!("{}: {} (exit {})", context.source, words::headline(report), summary.exit),
    )?;
    page.block(Style::Plain, "", 14, &words::harm_line(report))
}

fn unread(summary: &Summary, page: &mut Page<'_>) -> io::Result<()> {
    if summary.unread.is_empty() {
        return Ok(());
    }
    page.heading("Not read")?;
    for part in summary.unread.iter().take(LISTED) {
        match words::unread_place(part) {
            place if place.is_empty() => page.text(2, Style::Bad, &part.why)?,
            place => {
                page.text(2, Style::Bad, &place)?;
                page.text(4, Style::Plain, &part.why)?;
            }
        }
    }
    more(summary.unread.len(), LISTED, "part", page)
}

fn searched(report: &Report, page: &mut Page<'_>) -> io::Result<()> {
    let searched = words::searched(report);
    if searched.is_empty() {
        return Ok(());
    }
    page.heading("Looked for patterns")?;
    searched.iter().take(EXAMPLES).try_for_each(|line| page.block(Style::Dim, "  -", 4, line))?;
    more(searched.len(), EXAMPLES, "counter", page)
}

fn flow(summary: &Summary, page: &mut Page<'_>) -> io::Result<()> {
    let Some(flow) = &summary.flow else { return Ok(()) };
    page.heading(&format!("Flow {}", format::visible(&flow.flow)))?;
    for hop in super::flow::hops(flow) {
        let style = if hop.is_bad { Style::Bad } else { Style::Plain };
        page.text(2, style, &format!("{}: {}", format::visible(&hop.hop), hop.says))?;
    }
    super::flow::remarks(flow).iter().try_for_each(|remark| page.text(2, Style::Dim, &format::visible(remark)))
}

fn drift(summary: &Summary, page: &mut Page<'_>) -> io::Result<()> {
    if let Some(drift) = &summary.drift {
        page.heading("Stores")?;
        super::drift::lines(drift).iter().try_for_each(|line| page.text(2, Style::Plain, line))?;
    }
    Ok(())
}

fn findings(open: &[&Group<'_>], context: &Context, page: &mut Page<'_>) -> io::Result<()> {
    if open.is_empty() {
        return Ok(());
    }
    page.heading("Findings")?;
    for (index, group) in open.iter().take(DETAILED).enumerate() {
        if index > 0 {
            page.blank()?;
        }
        group_detail(group, context, page)?;
    }
    let brief = open.get(DETAILED..).unwrap_or_default();
    if !brief.is_empty() {
        page.blank()?;
    }
    for group in brief.iter().take(BRIEF) {
        page.text(2, grade_style(group.grade), &format!("{}: {}", title(group), words::extent(group)))?;
    }
    more(brief.len(), BRIEF, "group", page)
}

fn title(group: &Group<'_>) -> String {
    format!(
        "{} {}: {}, {}{}",
        group.kind,
        group.topic,
        plural(group.records, "record"),
        group.grade.name(),
        words::cause(group)
    )
}

fn group_detail(group: &Group<'_>, context: &Context, page: &mut Page<'_>) -> io::Result<()> {
    page.text(2, grade_style(group.grade), &title(group))?;
    page.text(4, Style::Plain, &format!("{}: {}", words::extent(group), words::meaning(group)))?;
    if let Some(doubt) = words::doubt(group.grade) {
        page.text(4, Style::Plain, doubt)?;
    }
    if let (Some(first), Some(last)) = (group.first, group.last) {
        page.text(4, Style::Plain, &when(first, last, context.now_ms))?;
    }
    let sessions = group::session_runs(group.findings.iter().copied());
    if sessions.len() > 1 {
        for session in sessions.iter().take(EXAMPLES) {
            let name = format::shorten(session.session, 40);
            let missing =
                format!("session {name}: {} in all: {}", plural(session.numbers, "number"), runs(&session.runs, 4));
            page.text(4, Style::Plain, &missing)?;
        }
    }
    for finding in group.findings.iter().take(EXAMPLES) {
        example(finding, page)?;
    }
    match group.findings.len().saturating_sub(EXAMPLES) {
        0 => Ok(()),
        rest => {
            page.text(4, Style::Dim, &format!("and {}; the JSON report lists all", plural(rest as u64, "more finding")))
        }
    }
}

fn example(finding: &Finding, page: &mut Page<'_>) -> io::Result<()> {
    let count = if finding.count == 1 { String::new() } else { format!(" ({})", plural(finding.count, "record")) };
    page.block(Style::Dim, "    -", 6, &format!("{}{count}, id {}", words::coordinates(finding), finding.id))?;
    page.text(6, Style::Plain, &finding.why)?;
    match words::sightings(finding, 4) {
        Some(sightings) => page.text(6, Style::Dim, &sightings),
        None => Ok(()),
    }
}

fn when(first: i64, last: i64, now_ms: i64) -> String {
    let at = |ms: i64| format!("{} ({})", utc(ms), ago(ms, now_ms));
    if first / 1000 == last / 1000 { at(first) } else { format!("from {} to {}", at(first), at(last)) }
}

fn resolved_findings(resolved: &[&Group<'_>], page: &mut Page<'_>) -> io::Result<()> {
    if resolved.is_empty() {
        return Ok(());
    }
    let findings: usize = resolved.iter().map(|g| g.findings.len()).sum();
    page.heading(&format!("Resolved: {}", plural(findings as u64, "finding")))?;
    for group in resolved.iter().take(LISTED) {
        let records = plural(group.records, "record");
        page.text(
            2,
            Style::Plain,
            &format!("{} {}: {}, {records}{}", group.kind, group.topic, words::extent(group), words::cause(group)),
        )?;
    }
    more(resolved.len(), LISTED, "group", page)
}

fn coverage(report: &Report, page: &mut Page<'_>) -> io::Result<()> {
    if report.coverage.is_empty() {
        return Ok(());
    }
    // A clean verdict stays a few lines long.
    let is_clean = report.summary.verdict == Verdict::Clean;
    let limit = if is_clean { 2 } else { BRIEF };
    if !is_clean || report.summary.is_of_stores() {
        page.heading("Coverage")?;
    }
    let topics = topics::topics(&report.coverage);
    for topic in topics.iter().take(limit) {
        let share = match topic.offsets {
            0 => "empty".to_owned(),
            offsets => format!("{} read: {}", percent(topic.read(), offsets), plural(topic.records, "record")),
        };
        let read = format!(
            "{}: {}, {}, {share}",
            topic.topic,
            plural(topic.partitions.len() as u64, "partition"),
            plural(topic.offsets, "offset"),
        );
        let explained = words::holes(&topic.holes);
        let explained = if explained.is_empty() { explained } else { format!(", {explained}") };
        page.text(2, Style::Plain, &format!("{read}{explained}"))?;
        alarms(topic, page)?;
    }
    more(topics.len(), limit, "topic", page)
}

/// What must not be overlooked about a topic: the partitions with offsets nobody has seen or can explain.
fn alarms(topic: &topics::TopicCoverage<'_>, page: &mut Page<'_>) -> io::Result<()> {
    for hole in topics::ALARMING {
        let offsets = topic.holes.get(hole);
        if offsets > 0 {
            let within = topic.partitions.iter().filter(|c| c.holes.get(hole) > 0);
            let numbers = within.map(|c| Span::new(c.partition.into(), i64::from(c.partition) + 1)).collect();
            let partitions = runs(&format::merge(numbers), 8);
            let name = hole.name().to_uppercase();
            page.text(4, Style::Bad, &format!("{name}: {} in partition {partitions}", plural(offsets, "offset")))?;
        }
    }
    Ok(())
}

/// Why some kinds could not be found. A clean verdict stays short: its second line names what was not checked.
fn not_checked(report: &Report, page: &mut Page<'_>) -> io::Result<()> {
    let reasons = words::not_checked(report);
    if reasons.is_empty() || report.summary.verdict == Verdict::Clean {
        return Ok(());
    }
    page.heading("Not checked")?;
    for reason in reasons.iter().take(LISTED) {
        page.block(Style::Dim, "  -", 4, reason)?;
    }
    more(reasons.len(), LISTED, "reason", page)
}

fn remarks(summary: &Summary, page: &mut Page<'_>) -> io::Result<()> {
    if !summary.notes.is_empty() {
        page.heading("Notes")?;
        for note in &summary.notes {
            page.block(Style::Warn, "  -", 4, note)?;
        }
    }
    if !summary.samples.is_empty() {
        page.heading("Records without identity")?;
        for sample in summary.samples.iter().take(LISTED) {
            page.block(Style::Dim, "  -", 4, sample)?;
        }
        more(summary.samples.len(), LISTED, "record", page)?;
    }
    Ok(())
}

fn closing(report: &Report, page: &mut Page<'_>) -> io::Result<()> {
    let Summary { figures, ledger, seconds: took, .. } = &report.summary;
    if report.summary.verdict != Verdict::Clean {
        page.blank()?;
    }
    let mut parts = vec![plural(figures.records, "record"), bytes(figures.bytes), plural(figures.batches, "batch")];
    if figures.sessions > 0 {
        parts.push(plural(figures.sessions, "session"));
    }
    let isolation = report.coverage.first().map(|c| format!(", {}", c.isolation.name())).unwrap_or_default();
    page.text(2, Style::Dim, &format!("{} in {}{isolation}", parts.join(", "), seconds(*took)))?;
    if let Some(ledger) = ledger {
        page.text(2, Style::Dim, &format!("ledger {ledger}, {}", plural(figures.sightings, "sighting")))?;
    }
    Ok(())
}

fn more(total: usize, shown: usize, noun: &str, page: &mut Page<'_>) -> io::Result<()> {
    match total.saturating_sub(shown) {
        0 => Ok(()),
        rest => page.text(2, Style::Dim, &format!("and {}", plural(rest as u64, &format!("more {noun}")))),
    }
}

fn grade_style(grade: Grade) -> Style {
    match grade {
        Grade::Proven => Style::Bad,
        Grade::Possible | Grade::Unknown => Style::Warn,
    }
}
