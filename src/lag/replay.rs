//! Judges recorded windows, one JSON object a line, so that thresholds can be tried before they page anybody.
//!
//! What Burrow's evaluator looks at is enough: `{"window":[{"offset","order","timestamp_ms","lag"}],
//! "broker_end_offsets":[…],"current_lag","now_ms","allowed_lag"}`. The default rules take more where it is given: `marks`,
//! `membership`, `membership_since_ms`, `owned`, `unread_since_ms`, `read_committed`, `exact_commits`, `moved_ms`,
//! `sibling_moved_ms`, as in [`Window`]. Anything else in a line is passed over, and `name` is repeated in the answer.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::burrow;
use super::figure::Unknown;
use super::rules::{self, Thresholds};
use super::ruleset::Rules;
use super::verdict::{Judgement, Verdict};
use super::window::{Commit, Mark, Membership, Window};

/// Burrow asks for end offsets this often unless told otherwise; recorded ends carry no times of their own.
const REFRESH_MS: i64 = 10_000;
/// Offsets and times beyond this are no offsets and times.
const LARGEST: i64 = 1 << 58;
/// Longest line that is read; a window of thousands of commits is far below it.
const LONGEST_LINE: u64 = 16 << 20;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines that are not blank.
    pub lines: u64,
    pub bad: u64,
    pub unreadable: u64,
}

#[derive(Debug, Deserialize)]
struct Recorded {
    name: Option<Value>,
    /// Burrow's ring: slots that were never filled are null.
    window: Vec<Option<RecordedCommit>>,
    #[serde(default)]
    broker_end_offsets: Vec<i64>,
    current_lag: Option<i64>,
    now_ms: i64,
    allowed_lag: Option<i64>,
    marks: Option<Vec<Mark>>,
    membership: Option<Membership>,
    membership_since_ms: Option<i64>,
    owned: Option<bool>,
    unread_since_ms: Option<i64>,
    moved_ms: Option<i64>,
    sibling_moved_ms: Option<i64>,
    #[serde(default)]
    read_committed: bool,
    exact_commits: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct RecordedCommit {
    offset: i64,
    #[serde(default)]
    order: Option<i64>,
    timestamp_ms: i64,
    #[serde(default)]
    lag: Option<i64>,
    #[serde(default)]
    by_tool: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a Value>,
    status: String,
    reason: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    numbers: BTreeMap<String, i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<f64>,
}

#[derive(Serialize)]
struct Refusal {
    error: String,
    line: u64,
}

/// Judges every line of `input` and writes one line each. A line that cannot be read is answered by an error and counted.
pub fn replay(mut input: impl BufRead, rules: &Rules, out: &mut dyn Write) -> io::Result<Counts> {
    let mut counts = Counts::default();
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        let read = io::Read::take(&mut input, LONGEST_LINE).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(counts);
        }
        number += 1;
        let is_cut = read as u64 == LONGEST_LINE && line.last() != Some(&b'\n');
        if is_cut {
            skip_line(&mut input)?;
        } else if line.trim_ascii().is_empty() {
            continue;
        }
        counts.lines += 1;
        let recorded = if is_cut { Err("the line is longer than 16 MiB".to_owned()) } else { parse(&line) };
        match recorded {
            Ok(recorded) => {
                let (answer, is_bad) = recorded.answer(rules);
                counts.bad += u64::from(is_bad);
                serde_json::to_writer(&mut *out, &answer)?;
            }
            Err(error) => {
                counts.unreadable += 1;
                serde_json::to_writer(&mut *out, &Refusal { error, line: number })?;
            }
        }
        out.write_all(b"\n")?;
    }
}

fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                input.consume(at + 1);
                return Ok(());
            }
            None => {
                let all = buffer.len();
                input.consume(all);
            }
        }
    }
}

fn parse(line: &[u8]) -> Result<Recorded, String> {
    let recorded: Recorded = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    match recorded.largest() {
        largest if largest > LARGEST => Err(format!("{largest} is neither an offset nor a time")),
        _ => Ok(recorded),
    }
}

impl Recorded {
    /// The largest number in the line, by its absolute value.
    fn largest(&self) -> i64 {
        let commits = self.window.iter().flatten().flat_map(|c| [c.offset, c.timestamp_ms, c.lag.unwrap_or(0)]);
        let marks = self.marks.iter().flatten().flat_map(|m| [m.at_ms, m.log_start, m.end, m.stable_end.unwrap_or(0)]);
        let times = [self.membership_since_ms, self.unread_since_ms, self.moved_ms, self.sibling_moved_ms];
        let single = [Some(self.now_ms), self.current_lag, self.allowed_lag].into_iter().chain(times).flatten();
        let ends = self.broker_end_offsets.iter().copied();
        commits.chain(marks).chain(single).chain(ends).map(i64::saturating_abs).max().unwrap_or(0)
    }

    fn commits(&self) -> Vec<Commit> {
        let commit = |(at, recorded): (usize, &RecordedCommit)| Commit {
            offset: recorded.offset,
            order: recorded.order.unwrap_or(at as i64),
            timestamp_ms: recorded.timestamp_ms,
            lag: recorded.lag,
            by_tool: recorded.by_tool,
        };
        self.window.iter().flatten().enumerate().map(commit).collect()
    }

    /// As recorded, or from the newest end.
    fn current_lag(&self, commits: &[Commit]) -> i64 {
        let from_end = || {
            let end = self.broker_end_offsets.iter().max()?;
            Some(end.saturating_sub(commits.last()?.offset))
        };
        self.current_lag.or_else(from_end).unwrap_or(0).max(0)
    }

    fn answer(&self, rules: &Rules) -> (Answer<'_>, bool) {
        let commits = self.commits();
        let (status, judgement, complete) = match rules {
            Rules::Burrow(settings) => self.by_burrow(&commits, settings),
            Rules::Default(thresholds) => {
                let judgement = self.by_default(&commits, thresholds);
                (status(judgement.verdict), judgement, None)
            }
        };
        let is_bad = judgement.verdict.is_bad();
        (
            Answer { name: self.name.as_ref(), status, reason: judgement.why, numbers: judgement.numbers, complete },
            is_bad,
        )
    }

    fn by_burrow(&self, commits: &[Commit], settings: &burrow::Settings) -> (String, Judgement, Option<f64>) {
        let complete = burrow::complete(commits.len(), self.window.len());
        let input = burrow::Input {
            commits,
            broker_end_offsets: &self.broker_end_offsets,
            current_lag: self.current_lag(commits),
            now_ms: self.now_ms,
            allowed_lag: self.allowed_lag.unwrap_or(settings.allowed_lag),
        };
        let (status, judgement) = burrow::judge_input(&input, complete, self.window.len(), settings);
        (status.name().to_owned(), judgement, (complete < 1.0).then_some(complete))
    }

    fn by_default(&self, commits: &[Commit], thresholds: &Thresholds) -> Judgement {
        let marks = self.marks.clone().unwrap_or_else(|| self.marks_from(commits));
        let thresholds =
            Thresholds { allowed_lag: self.allowed_lag.unwrap_or(thresholds.allowed_lag), ..thresholds.clone() };
        let window = Window {
            now_ms: self.now_ms,
            commits,
            exact_commits: self.exact_commits.unwrap_or(true),
            marks: &marks,
            read_committed: self.read_committed,
            membership: self.membership.unwrap_or(Membership::Unknown),
            membership_since_ms: self.membership_since_ms.unwrap_or(self.now_ms),
            owned: self.owned,
            unread_since_ms: self.unread_since_ms.ok_or(Unknown::NotYet),
            moved_ms: self.moved_ms,
            sibling_moved_ms: self.sibling_moved_ms,
        };
        rules::judge(&window, &thresholds)
    }

    /// What the lines say of the log: its end at each commit, at Burrow's last refreshes, and now.
    fn marks_from(&self, commits: &[Commit]) -> Vec<Mark> {
        let mark = |at_ms: i64, end: i64| Mark { at_ms, log_start: 0, stable_end: None, end };
        let at_commit = |commit: &Commit| Some(mark(commit.timestamp_ms, commit.offset + commit.lag?));
        let mut marks: Vec<Mark> = commits.iter().filter_map(at_commit).collect();
        let Some(last) = commits.last() else { return marks };
        let mut ends = self.broker_end_offsets.clone();
        ends.sort_unstable();
        let newest = ends.len() as i64 - 1;
        let times = (0..).map(|at| self.now_ms - (newest - at) * REFRESH_MS);
        let refreshes = times.zip(&ends).filter(|(at_ms, _)| *at_ms > last.timestamp_ms && *at_ms < self.now_ms);
        marks.extend(refreshes.map(|(at_ms, end)| mark(at_ms, *end)));
        marks.push(mark(self.now_ms, last.offset + self.current_lag(commits)));
        marks
    }
}

/// A verdict as Burrow would print it.
fn status(verdict: Verdict) -> String {
    verdict.name().to_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(input: &[u8], rules: &Rules) -> (Vec<Value>, Counts) {
        let mut out = Vec::new();
        let counts = replay(input, rules, &mut out).unwrap();
        (
            out.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect(),
            counts,
        )
    }

    const RISING: &str = r#"{"name":"rising","window":[
        {"offset":100,"order":1,"timestamp_ms":0,"lag":10},{"offset":200,"order":2,"timestamp_ms":60000,"lag":20},
        {"offset":300,"timestamp_ms":120000,"lag":null},{"offset":400,"timestamp_ms":180000,"lag":40}],
        "broker_end_offsets":[440],"current_lag":40,"now_ms":NOW,"expected":"ignored"}"#;

    fn rising(now_ms: i64) -> String {
        RISING.replace('\n', " ").replace("NOW", &now_ms.to_string())
    }

    #[test]
    fn burrow_answers_in_its_own_words() {
        let input = format!("{}\n\n{}\n{{\"window\":[],\"now_ms\":0}}\n", rising(181_000), rising(361_000));
        let (answers, counts) = lines(input.as_bytes(), &Rules::Burrow(burrow::Settings::default()));
        let statuses: Vec<&Value> = answers.iter().map(|answer| &answer["status"]).collect();
        assert_eq!(statuses, ["WARN", "STOP", "OK"]);
        assert_eq!(answers[0]["name"], "rising");
        assert_eq!(answers[1]["numbers"]["silent_ms"], 181_000);
        assert_eq!(counts, Counts { lines: 3, bad: 2, unreadable: 0 });
    }

    #[test]
    fn the_default_rules_answer_too_and_take_more() {
        let (answers, _) = lines(rising(900_000).as_bytes(), &Rules::default());
        assert_eq!(answers[0]["status"], "STOP");
        let empty = rising(900_000).replace("\"expected\"", "\"membership\":\"empty\",\"membership_since_ms\":0,\"x\"");
        assert_eq!(lines(empty.as_bytes(), &Rules::default()).0[0]["status"], "NO_OWNER");
        let allowed = rising(900_000).replace("\"expected\"", "\"allowed_lag\":40,\"x\"");
        assert_eq!(lines(allowed.as_bytes(), &Rules::default()).0[0]["status"], "OK");
    }

    #[test]
    fn a_line_that_is_no_window_stops_nothing() {
        let input =
            format!("{{\"window\":\n\n[1]\n{{\"window\":[],\"now_ms\":9000000000000000000}}\n\u{fe}\n{}", rising(0));
        let (answers, counts) = lines(input.as_bytes(), &Rules::default());
        assert_eq!(answers.iter().filter_map(|a| a["line"].as_u64()).collect::<Vec<_>>(), [1, 3, 4, 5]);
        assert!(answers[2]["error"].as_str().unwrap().contains("neither an offset nor a time"));
        assert_eq!(counts, Counts { lines: 5, bad: 0, unreadable: 4 });
    }

    proptest! {
        /// Whatever numbers a line holds, it gets an answer.
        #[test]
        fn every_line_is_answered(
            commits in prop::collection::vec((any::<i64>(), any::<i64>(), any::<Option<i64>>()), 0..6),
            ends in prop::collection::vec(any::<i64>(), 0..3),
            (lag, now_ms, allowed) in (any::<Option<i64>>(), any::<i64>(), any::<Option<i64>>()),
            shift in 0u32..60,
            membership in prop::sample::select(vec!["empty", "stable", "unknown", "rebalancing"]),
        ) {
            let small = |n: i64| n >> shift;
            let window: Vec<Value> = commits.iter().map(|(offset, at, lag)| serde_json::json!({
                "offset": small(*offset), "timestamp_ms": small(*at), "lag": lag.map(small),
            })).collect();
            let ends: Vec<i64> = ends.into_iter().map(small).collect();
            let line = serde_json::json!({
                "window": window, "broker_end_offsets": ends, "current_lag": lag.map(small), "now_ms": small(now_ms),
                "allowed_lag": allowed.map(small), "membership": membership,
            }).to_string();
            for rules in [Rules::default(), Rules::Burrow(burrow::Settings::default())] {
                let (answers, counts) = lines(line.as_bytes(), &rules);
                prop_assert_eq!((answers.len(), counts.lines), (1, 1));
            }
        }
    }
}
