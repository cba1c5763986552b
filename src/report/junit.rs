//! JUnit XML for CI servers: one suite for each topic, one case for each kind of anomaly and one for having read all.
//! Proven is a failure, not read is an error; what is merely possible or was not checked is skipped: neither passed nor
//! failed.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::format::{plural, thousands, utc, visible};
use super::topics::{self, TopicCoverage};
use super::{Context, words};
use crate::audit::drift::Befores;
use crate::audit::finding::{Finding, Grade, Kind};
use crate::audit::verdict::{NotChecked, Report, Unread, Verdict};

/// Findings in the body of one failure: CI servers show it as a whole.
const LISTED: usize = 50;

struct Suite {
    name: String,
    cases: Vec<Case>,
}

struct Case {
    name: &'static str,
    outcome: Outcome,
}

enum Outcome {
    Passed,
    Failure { message: String, body: Vec<String> },
    Error { message: String, body: Vec<String> },
    Skipped { message: String },
}

#[derive(Default)]
struct Topic<'a> {
    findings: Vec<&'a Finding>,
    coverage: Option<TopicCoverage<'a>>,
    unread: Vec<&'a Unread>,
    not_checked: Vec<&'a NotChecked>,
    looked_for: Vec<Kind>,
}

pub(super) fn write(report: &Report, context: &Context, out: &mut dyn Write) -> io::Result<()> {
    let suites = suites(report, context);
    let total = Counts::of(suites.iter().flat_map(|suite| &suite.cases));
    let time = report.summary.seconds.max(0.0);
    writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    writeln!(out, r#"<testsuites name="sordini {}" {total} time="{time:.3}">"#, escape(&context.source))?;
    for suite in &suites {
        write_suite(suite, context, out)?;
    }
    writeln!(out, "</testsuites>")
}

fn suites(report: &Report, context: &Context) -> Vec<Suite> {
    let mut by_topic: BTreeMap<&str, Topic<'_>> = BTreeMap::new();
    for topic in topics::topics(&report.coverage) {
        let entry = by_topic.entry(topic.topic).or_default();
        entry.coverage = Some(topic);
    }
    for finding in report.findings.iter().filter(|f| f.is_open()) {
        by_topic.entry(&finding.topic).or_default().findings.push(finding);
    }
    for missed in &report.summary.not_checked {
        by_topic.entry(&missed.topic).or_default().not_checked.push(missed);
    }
    let looked_for = match report.summary.is_of_stores() {
        // Reading a topic looks at its offsets and checksums too.
        true => {
            let has_befores =
                report.summary.drifts().any(|(_, drift)| drift.befores.as_ref().is_some_and(Befores::are_told));
            let lost = has_befores.then_some(Kind::LostChange);
            let of_reading =
                [Kind::OffsetGap, Kind::ChecksumFailure].into_iter().filter(|_| !report.coverage.is_empty());
            Kind::OF_STORES.into_iter().chain(lost).chain(of_reading).collect()
        }
        false => Kind::of_audits().collect::<Vec<_>>(),
    };
    by_topic.values_mut().for_each(|topic| topic.looked_for.clone_from(&looked_for));
    let (named, nameless): (Vec<_>, Vec<_>) = report.summary.unread.iter().partition(|part| !part.topic.is_empty());
    for part in named {
        by_topic.entry(&part.topic).or_default().unread.push(part);
    }
    let mut suites: Vec<Suite> = by_topic.into_iter().map(|(name, topic)| suite(name, &topic)).collect();
    let errors = Counts::of(suites.iter().flat_map(|suite| &suite.cases)).errors;
    // What belongs to no topic, and an unverified audit that names no part, are errors of the source.
    let outcome = match nameless[..] {
        [] if report.summary.verdict == Verdict::Unverified && errors == 0 => {
            Some(Outcome::Error { message: words::headline(report), body: Vec::new() })
        }
        [] => None,
        [..] => Some(not_read(&nameless)),
    };
    if let Some(outcome) = outcome {
        suites.push(Suite { name: context.source.clone(), cases: vec![Case { name: "coverage", outcome }] });
    }
    suites
}

fn suite(name: &str, topic: &Topic<'_>) -> Suite {
    let mut cases = vec![Case { name: "coverage", outcome: read(topic) }];
    let found = |kind: &Kind| topic.findings.iter().any(|finding| finding.kind == *kind);
    let kinds = Kind::ALL.into_iter().filter(|kind| topic.looked_for.contains(kind) || found(kind));
    cases.extend(kinds.map(|kind| Case { name: kind.name(), outcome: judged(kind, topic) }));
    Suite { name: name.to_owned(), cases }
}

fn read(topic: &Topic<'_>) -> Outcome {
    let unread = topic.coverage.as_ref().map_or(0, TopicCoverage::unread);
    let unknown = topic.coverage.as_ref().map_or(0, |coverage| coverage.holes.unknown);
    if !topic.unread.is_empty() {
        not_read(&topic.unread)
    } else if unread > 0 {
        Outcome::Error { message: format!("{} could not be read", plural(unread, "offset")), body: Vec::new() }
    } else if unknown > 0 {
        let message = format!("{} missing that this client cannot explain", plural(unknown, "offset"));
        Outcome::Skipped { message }
    } else {
        Outcome::Passed
    }
}

fn not_read(parts: &[&Unread]) -> Outcome {
    let line = |part: &&Unread| match words::unread_place(part) {
        place if place.is_empty() => part.why.clone(),
        place => format!("{place}: {}", part.why),
    };
    let mut body: Vec<String> = parts.iter().take(LISTED).map(line).collect();
    body.extend(more(parts.len()));
    Outcome::Error { message: parts.first().map(|part| part.why.clone()).unwrap_or_default(), body }
}

fn judged(kind: Kind, topic: &Topic<'_>) -> Outcome {
    let (proven, unsure): (Vec<_>, Vec<_>) =
        topic.findings.iter().copied().filter(|f| f.kind == kind).partition(|f| f.grade == Grade::Proven);
    match (proven.first(), unsure.first()) {
        (Some(first), _) => {
            let mut body: Vec<String> = proven.iter().take(LISTED).map(|finding| words::line(finding)).collect();
            body.extend(more(proven.len()));
            Outcome::Failure { message: first.why.clone(), body }
        }
        (None, Some(first)) => {
            let grade = first.grade.name();
            Outcome::Skipped { message: format!("{}, {grade}: {}", plural(unsure.len() as u64, "finding"), first.why) }
        }
        (None, None) => match topic.not_checked.iter().find(|missed| missed.kinds.contains(&kind)) {
            Some(missed) => Outcome::Skipped { message: format!("not checked: {}", missed.why) },
            None => Outcome::Passed,
        },
    }
}

fn more(total: usize) -> Option<String> {
    let rest = total.saturating_sub(LISTED);
    (rest > 0).then(|| format!("and {} more; the JSON report lists all", thousands(rest as u64)))
}

fn write_suite(suite: &Suite, context: &Context, out: &mut dyn Write) -> io::Result<()> {
    let (name, counts) = (escape(&suite.name), Counts::of(&suite.cases));
    let at = utc(context.now_ms);
    writeln!(out, r#"  <testsuite name="{name}" {counts} timestamp="{}">"#, escape(at.trim_end_matches('Z')))?;
    for case in &suite.cases {
        write!(out, r#"    <testcase classname="{name}" name="{}""#, case.name)?;
        match &case.outcome {
            Outcome::Passed => writeln!(out, "/>")?,
            Outcome::Failure { message, body } => write_outcome("failure", message, case.name, body, out)?,
            Outcome::Error { message, body } => write_outcome("error", message, "unread", body, out)?,
            Outcome::Skipped { message } => {
                writeln!(out, ">\n      <skipped message=\"{}\"/>\n    </testcase>", escape(message))?;
            }
        }
    }
    writeln!(out, "  </testsuite>")
}

fn write_outcome(element: &str, message: &str, kind: &str, body: &[String], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, ">\n      <{element} message=\"{}\" type=\"{kind}\">", escape(message))?;
    for line in body {
        writeln!(out, "{}", escape(line))?;
    }
    writeln!(out, "      </{element}>\n    </testcase>")
}

/// Safe in an attribute and in text. Characters that XML 1.0 forbids (§2.2) are shown as escapes first.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            other => out.push(other),
        }
    }
    out
}

#[derive(Default)]
struct Counts {
    tests: usize,
    failures: usize,
    errors: usize,
    skipped: usize,
}

impl Counts {
    fn of<'a>(cases: impl IntoIterator<Item = &'a Case>) -> Self {
        let mut counts = Counts::default();
        for case in cases {
            counts.tests += 1;
            match case.outcome {
                Outcome::Passed => {}
                Outcome::Failure { .. } => counts.failures += 1,
                Outcome::Error { .. } => counts.errors += 1,
                Outcome::Skipped { .. } => counts.skipped += 1,
            }
        }
        counts
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Counts { tests, failures, errors, skipped } = self;
        write!(f, r#"tests="{tests}" failures="{failures}" errors="{errors}" skipped="{skipped}""#)
    }
}
