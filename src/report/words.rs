//! The sentences that all readable reports share, so that terminal, page and CI say the same.

use std::collections::BTreeSet;

use super::format::{place, plural, runs, shorten, span, thousands, utc, visible};
use super::group::{self, Group};
use crate::audit::coverage::{Hole, Holes};
use crate::audit::finding::{Finding, Grade, Kind, Span, State};
use crate::audit::patterns::summary::Searched;
use crate::audit::verdict::{Report, Unread, Verdict};

/// What a kind means, for a reader who meets it for the first time.
pub fn meaning(group: &Group<'_>) -> &'static str {
    match group.kind {
        Kind::SequenceGap | Kind::HeadLoss | Kind::TailLoss if group.state == State::Resolved => {
            "numbers missing beyond the waiting time arrived after all"
        }
        Kind::SequenceGap | Kind::HeadLoss | Kind::TailLoss if group.grade != Grade::Proven => {
            "numbers that were expected have not been seen"
        }
        Kind::Duplicate if group.grade != Grade::Proven => "records look alike and may be the same one",
        Kind::SequenceGap => "numbers between two seen ones of a session never arrived",
        Kind::HeadLoss => "a session does not begin at its declared start",
        Kind::TailLoss => "a session ends before its declared end",
        Kind::OffsetGap => "offsets are missing from the log and nothing explains them",
        Kind::Truncation => "records read before are no longer in the log",
        Kind::RetentionOverrun => "retention deleted records before they were read",
        Kind::Duplicate => "the same record is there more than once",
        Kind::Conflict => "one identity carries different contents",
        Kind::Reorder => "records arrived after later ones of their session (RFC 4737)",
        Kind::TimestampRegression => "time runs backwards along the log",
        Kind::ChecksumFailure => "batches are damaged: their bytes do not match their checksum",
        Kind::EpochRegression => "an epoch falls along a partition",
        Kind::TopicReset => "the topic was deleted or created anew",
        Kind::MissingStage if group.state == State::Resolved => "transactions reached the next stage after all",
        Kind::MissingStage => "transactions did not reach the next stage of their flow",
        Kind::UnexpectedRecord => "an effect without its cause, or before it",
        Kind::StageMismatch => "two stages of a flow disagree on what they must agree on",
        Kind::PeriodicLoss => "losses sit on every nth of a counter",
        Kind::DimensionalLoss => "losses have something in common",
        Kind::Burst => "losses come in longer runs than chance allows (RFC 3357)",
        Kind::RetryComb => "the same records come again at the same fixed delays",
        Kind::Missing => "the first store has it and the second does not",
        Kind::Extra => "the second store has it and the first does not",
        Kind::Differs => "the second store holds other content than the first",
        Kind::Stale => "the second store holds an older version than the first",
        Kind::Imbalance => "sums that must be conserved are not",
        Kind::LostChange => "a change event never reached the topic: the next one of its key tells",
        Kind::AuditGap => "the audit itself missed a range or dropped state",
    }
}

/// What a grade short of *proven* means.
pub fn doubt(grade: Grade) -> Option<&'static str> {
    match grade {
        Grade::Proven => None,
        Grade::Possible => Some("possible: what was read allows another explanation, or the waiting time is not over"),
        Grade::Unknown => Some("unknown: what was read cannot decide it"),
    }
}

/// The verdict's reason in one sentence.
pub fn headline(report: &Report) -> String {
    let open = |grade: Grade| report.findings.iter().filter(|f| f.is_open() && f.grade == grade).count() as u64;
    let unsure = open(Grade::Possible) + open(Grade::Unknown);
    let mut parts = Vec::new();
    if report.summary.verdict == Verdict::Unverified {
        parts.push(unverified(report));
    }
    if open(Grade::Proven) > 0 {
        parts.push(plural(open(Grade::Proven), "proven finding"));
    }
    if unsure > 0 {
        parts.push(plural(unsure, "possible finding"));
    }
    let unknown: u64 = report.coverage.iter().map(|c| c.holes.unknown).sum();
    if unknown > 0 {
        parts.push(format!("{} missing that this client cannot explain", plural(unknown, "offset")));
    }
    match report.summary.verdict {
        Verdict::Clean if report.summary.is_of_stores() => "the stores agree".to_owned(),
        Verdict::Clean => "everything asked for was read, and nothing is wrong".to_owned(),
        _ if parts.is_empty() && report.summary.is_of_stores() => {
            "what was compared agrees, and not everything could be: see what was not verifiable".to_owned()
        }
        _ if parts.is_empty() => "the audit ended before it could be sure".to_owned(),
        _ => parts.join("; "),
    }
}

fn unverified(report: &Report) -> String {
    let unread: u64 = report.coverage.iter().map(|c| super::topics::unread(&c.holes)).sum();
    match (report.summary.unread.len() as u64, unread) {
        (0, 0) => "nothing was read".to_owned(),
        (0, offsets) => format!("{} could not be read", plural(offsets, "offset")),
        (parts, 0) => format!("{} could not be read", plural(parts, "part")),
        (parts, offsets) => format!("{} ({}) could not be read", plural(parts, "part"), plural(offsets, "offset")),
    }
}

/// One figure of harm, and on how many topics it was looked for.
pub struct Harm {
    pub number: u64,
    pub word: &'static str,
    pub looked: Looked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    Everywhere,
    /// On all topics but so many of so many.
    Except(usize, usize),
    Nowhere,
}

impl Looked {
    pub fn at(kind: Kind, report: &Report) -> Self {
        let all: BTreeSet<&str> = report.coverage.iter().map(|c| &*c.topic).collect();
        let missed = report.summary.not_checked.iter().filter(|missed| missed.kinds.contains(&kind));
        let missed: BTreeSet<&str> = missed.map(|missed| &*missed.topic).collect();
        match all.union(&missed).count() {
            _ if all.is_empty() => Looked::Nowhere,
            _ if missed.is_empty() => Looked::Everywhere,
            topics if missed.len() >= topics => Looked::Nowhere,
            topics => Looked::Except(missed.len(), topics),
        }
    }
}

/// What went wrong, in numbers. Of loss, repetition and order a zero is said too: it differs from "not checked".
pub fn harm(report: &Report) -> Vec<Harm> {
    let figures = &report.summary.figures;
    let always = |number, word, kind| Some(Harm { number, word, looked: Looked::at(kind, report) });
    let harmful = |number, word| (number > 0).then_some(Harm { number, word, looked: Looked::Everywhere });
    let all = [
        always(figures.lost, "lost", Kind::SequenceGap),
        always(figures.duplicated, "duplicated", Kind::Duplicate),
        always(figures.conflicting, "conflicting", Kind::Conflict),
        always(figures.reordered, "reordered", Kind::Reorder),
        always(figures.unexplained, "unexplained offsets", Kind::OffsetGap),
        harmful(figures.late, "late"),
        harmful(figures.resets, "session resets"),
        harmful(figures.unidentified, "without identity"),
    ];
    all.into_iter().flatten().collect()
}

/// `3 lost, 0 duplicated; not checked: reordered`.
pub fn harm_line(report: &Report) -> String {
    if report.summary.is_of_stores() {
        let all: Vec<_> = report.summary.drifts().map(|(_, drift)| drift).collect();
        return super::drift::counts(&all);
    }
    let harm = harm(report);
    let words = |of: &dyn Fn(Looked) -> bool| {
        harm.iter().filter(|h| of(h.looked)).map(|h| h.word).collect::<Vec<_>>().join(", ")
    };
    let counted = harm.iter().filter(|h| h.looked != Looked::Nowhere || h.number > 0);
    let counted = counted.map(|h| format!("{} {}", thousands(h.number), h.word)).collect::<Vec<_>>().join(", ");
    let partly = words(&|looked| matches!(looked, Looked::Except(..)));
    let partly = if partly.is_empty() { partly } else { format!("checked on some topics only: {partly}") };
    let never = words(&|looked| looked == Looked::Nowhere);
    let never = if never.is_empty() { never } else { format!("not checked: {never}") };
    [counted, partly, never].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

/// `head-loss, tail-loss: why (on orders, payments)`, one for each reason.
pub fn not_checked(report: &Report) -> Vec<String> {
    let mut reasons: Vec<(&[Kind], &str, Vec<&str>)> = Vec::new();
    for missed in &report.summary.not_checked {
        match reasons.iter_mut().find(|(kinds, why, _)| *kinds == missed.kinds && *why == missed.why) {
            Some((_, _, topics)) => topics.push(&missed.topic),
            None => reasons.push((&missed.kinds, &missed.why, vec![&missed.topic])),
        }
    }
    let sentence = |(kinds, why, topics): &(&[Kind], &str, Vec<&str>)| {
        let kinds = if kinds.len() >= Kind::of_audits().count() {
            "anything".to_owned()
        } else {
            kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
        };
        let topics = match &topics[..] {
            few @ ([_] | [_, _] | [_, _, _]) => few.iter().map(|t| shorten(t, 60)).collect::<Vec<_>>().join(", "),
            many => plural(many.len() as u64, "topic"),
        };
        format!("{kinds} on {topics}: {}", visible(why))
    };
    reasons.iter().map(sentence).collect()
}

/// Counters on which no period was found, and what would have been: `none found` must mean something.
pub fn searched(report: &Report) -> Vec<String> {
    let named = |searched: &&Searched| {
        !report.findings.iter().any(|finding| {
            let says = |name: &str, value: &str| finding.evidence.get(name).is_some_and(|found| found == value);
            finding.kind == Kind::PeriodicLoss
                && finding.topic == searched.topic
                && says("counter", &searched.counter)
                && finding.cause.as_deref() == Some(&searched.what)
        })
    };
    let mut all: Vec<&Searched> = report.summary.searched.iter().filter(named).collect();
    all.sort_by_key(|searched| std::cmp::Reverse(searched.limits.trials));
    all.into_iter().map(sought).collect()
}

fn sought(searched: &Searched) -> String {
    let limits = &searched.limits;
    let of = if searched.of.is_empty() { String::new() } else { format!(" of {}", visible(&searched.of)) };
    let counter = format!("{}{of} on {}", searched.counter.replace('-', " "), shorten(&searched.topic, 60));
    let what = match (limits.smallest, limits.largest) {
        (Some(smallest), Some(largest)) => {
            let hundredth = limits.rates.iter().find(|limit| limit.n == 100).and_then(|limit| limit.hit_rate);
            let rate = hundredth.map(|rate| format!("; of every 100th, {:.1} % would do", rate * 100.0));
            format!(
                "every nth from {} to {} would show{}",
                thousands(smallest),
                thousands(largest),
                rate.unwrap_or_default()
            )
        }
        _ => "that is too few to show any".to_owned(),
    };
    let among = plural(limits.trials, "number");
    let uncovered = match searched.uncovered {
        0 => String::new(),
        records => format!("; {} of other keys are not covered", plural(records, "record")),
    };
    format!("no period in what is {} by {counter}: among {among}, {what}{uncovered}", searched.what)
}

/// `900 aborted, 12 control`.
pub fn holes(holes: &Holes) -> String {
    let named = Hole::ALL.into_iter().filter(|&hole| holes.get(hole) > 0);
    named.map(|hole| format!("{} {}", thousands(holes.get(hole)), hole.name())).collect::<Vec<_>>().join(", ")
}

/// `orders[3]`, with the range when only a part of it was not read.
pub fn unread_place(unread: &Unread) -> String {
    let place = place(&unread.topic, unread.partition);
    match (unread.from, unread.until) {
        (Some(from), Some(until)) => format!("{place} offsets {}", span(Span::new(from, until))),
        (Some(from), None) => format!("{place} from offset {from}"),
        (None, Some(until)) => format!("{place} before offset {until}"),
        (None, None) => place,
    }
}

/// `, cause retry`, or nothing.
pub fn cause(group: &Group<'_>) -> String {
    group.cause.map(|cause| format!(", cause {cause}")).unwrap_or_default()
}

/// `12 findings in 3 sessions and 4 partitions`.
pub fn extent(group: &Group<'_>) -> String {
    let mut touched = Vec::new();
    if !group.sessions.is_empty() {
        touched.push(plural(group.sessions.len() as u64, "session"));
    }
    match group.partitions.len() {
        0 => {}
        1..=4 => {
            let numbers =
                super::format::merge(group.partitions.iter().map(|&p| Span::new(p.into(), i64::from(p) + 1)).collect());
            let noun = if group.partitions.len() == 1 { "partition" } else { "partitions" };
            touched.push(format!("{noun} {}", runs(&numbers, 4)));
        }
        many => touched.push(plural(many as u64, "partition")),
    }
    let findings = plural(group.findings.len() as u64, "finding");
    if touched.is_empty() { findings } else { format!("{findings} in {}", touched.join(" and ")) }
}

/// The coordinates of one finding: `orders[3] offset 17, session pump-7 numbers 4–9`.
pub fn coordinates(finding: &Finding) -> String {
    let mut out = place(&finding.topic, finding.partition);
    if let Some(offsets) = finding.offsets {
        out += &format!(" {} {}", ranged("offset", offsets), span(offsets));
    }
    if let Some(session) = &finding.session {
        out += &format!(", session {}", super::format::shorten(session, 40));
    }
    if let Some(numbers) = finding.numbers {
        out += &format!(" {} {}", ranged("number", numbers), span(numbers));
    }
    out
}

fn ranged(noun: &str, span: Span) -> String {
    if span.len() == 1 { noun.to_owned() } else { format!("{noun}s") }
}

/// `seen at orders[0]@17, orders[3]@99 and 4 more`, or nothing.
pub fn sightings(finding: &Finding, limit: usize) -> Option<String> {
    let all = &finding.sightings;
    let shown: Vec<String> =
        all.iter().take(limit).map(|s| format!("{}@{}", place(&s.topic, Some(s.partition)), s.offset)).collect();
    match all.len().saturating_sub(limit) {
        _ if all.is_empty() => None,
        0 => Some(format!("seen at {}", shown.join(", "))),
        more => Some(format!("seen at {} and {} more", shown.join(", "), thousands(more as u64))),
    }
}

/// One finding on one line, for logs that are followed.
pub fn line(finding: &Finding) -> String {
    let state = if finding.is_open() { finding.grade.name() } else { "resolved" };
    let when = group::times(finding).map(|(_, last)| format!("{} ", utc(last))).unwrap_or_default();
    let seen = sightings(finding, 4).map(|seen| format!(", {seen}")).unwrap_or_default();
    format!("{when}{state} {} {}: {}{seen} ({})", finding.kind, coordinates(finding), finding.why, finding.id)
}
