//! Burrow's rules against cases worked out by hand and against a second, plain writing of the same rules.

use proptest::prelude::*;

use super::live::ring;
use super::*;
use crate::lag::figure::Unknown;
use crate::lag::window::{Mark, Membership, Window};

fn commit(at_s: i64, offset: i64, lag: Option<i64>) -> Commit {
    Commit { offset, order: at_s, timestamp_ms: at_s * 1000, lag, by_tool: false }
}

/// Commits a minute apart.
fn commits(of: &[(i64, Option<i64>)]) -> Vec<Commit> {
    of.iter().enumerate().map(|(n, (offset, lag))| commit(60 * n as i64, *offset, *lag)).collect()
}

struct Case {
    what: &'static str,
    commits: &'static [(i64, Option<i64>)],
    ends: &'static [i64],
    lag: i64,
    /// Seconds after the last commit.
    silent_s: i64,
    allowed: i64,
    status: Status,
}

const fn some(offset: i64, lag: i64) -> (i64, Option<i64>) {
    (offset, Some(lag))
}

const RISING: &[(i64, Option<i64>)] = &[some(100, 10), some(200, 20), some(300, 30), some(400, 40)];
const FLAT: &[(i64, Option<i64>)] = &[some(100, 10), some(100, 20), some(100, 30), some(100, 40)];
const ONCE_AT_END: &[(i64, Option<i64>)] = &[some(100, 0), some(200, 20), some(300, 30), some(400, 40)];

/// The window spans 180 seconds in all cases with four commits.
const CASES: &[Case] = &[
    Case { what: "no commit", commits: &[], ends: &[500], lag: 40, silent_s: 0, allowed: 0, status: Status::Ok },
    Case {
        what: "no lag, silent",
        commits: RISING,
        ends: &[440],
        lag: 0,
        silent_s: 999,
        allowed: 0,
        status: Status::Ok,
    },
    Case { what: "lag allowed", commits: FLAT, ends: &[140], lag: 40, silent_s: 999, allowed: 40, status: Status::Ok },
    Case { what: "lag above", commits: FLAT, ends: &[141], lag: 41, silent_s: 999, allowed: 40, status: Status::Stop },
    Case { what: "rising", commits: RISING, ends: &[440], lag: 40, silent_s: 60, allowed: 0, status: Status::Warn },
    Case {
        what: "the span exactly",
        commits: RISING,
        ends: &[440],
        lag: 40,
        silent_s: 180,
        allowed: 0,
        status: Status::Warn,
    },
    Case {
        what: "a second more",
        commits: RISING,
        ends: &[440],
        lag: 40,
        silent_s: 181,
        allowed: 0,
        status: Status::Stop,
    },
    Case {
        what: "caught up in the ring",
        commits: ONCE_AT_END,
        ends: &[440],
        lag: 40,
        silent_s: 60,
        allowed: 0,
        status: Status::Ok,
    },
    Case {
        what: "caught up in the ring, silent",
        commits: ONCE_AT_END,
        ends: &[440],
        lag: 40,
        silent_s: 181,
        allowed: 0,
        status: Status::Stop,
    },
    Case {
        what: "caught up lately, silent",
        commits: RISING,
        ends: &[390, 401, 440],
        lag: 40,
        silent_s: 999,
        allowed: 0,
        status: Status::Warn,
    },
    Case {
        what: "at the very end lately",
        commits: RISING,
        ends: &[400, 440],
        lag: 40,
        silent_s: 999,
        allowed: 0,
        status: Status::Warn,
    },
    Case { what: "flat", commits: FLAT, ends: &[140], lag: 40, silent_s: 60, allowed: 0, status: Status::Stall },
    Case {
        what: "flat, at the end once",
        commits: &[some(100, 0), some(100, 9)],
        ends: &[109],
        lag: 9,
        silent_s: 1,
        allowed: 0,
        status: Status::Ok,
    },
    Case {
        what: "back",
        commits: &[some(100, 9), some(300, 9), some(200, 109), some(299, 20)],
        ends: &[319],
        lag: 20,
        silent_s: 1,
        allowed: 0,
        status: Status::Rewind,
    },
    Case {
        what: "back, and silent: stop comes first",
        commits: &[some(100, 9), some(300, 9), some(200, 109)],
        ends: &[319],
        lag: 119,
        silent_s: 121,
        allowed: 0,
        status: Status::Stop,
    },
    Case {
        what: "back and there again",
        commits: &[some(100, 9), some(300, 9), some(200, 109), some(300, 20)],
        ends: &[320],
        lag: 20,
        silent_s: 1,
        allowed: 0,
        status: Status::Ok,
    },
    Case {
        what: "back though once at the end",
        commits: &[some(100, 0), some(300, 9), some(200, 109)],
        ends: &[319],
        lag: 119,
        silent_s: 1,
        allowed: 0,
        status: Status::Rewind,
    },
    Case {
        what: "one dip",
        commits: &[some(100, 9), some(200, 20), some(300, 19), some(400, 90)],
        ends: &[490],
        lag: 90,
        silent_s: 1,
        allowed: 0,
        status: Status::Ok,
    },
    Case {
        what: "unknown lags are passed over",
        commits: &[some(100, 9), (200, None), some(300, 9), (400, None)],
        ends: &[490],
        lag: 90,
        silent_s: 1,
        allowed: 0,
        status: Status::Warn,
    },
    Case {
        what: "all lags unknown",
        commits: &[(100, None), (200, None)],
        ends: &[290],
        lag: 90,
        silent_s: 1,
        allowed: 0,
        status: Status::Warn,
    },
    Case {
        what: "one commit, a second later",
        commits: &[some(100, 9)],
        ends: &[109],
        lag: 9,
        silent_s: 1,
        allowed: 0,
        status: Status::Stop,
    },
    Case {
        what: "one commit, at once",
        commits: &[some(100, 9)],
        ends: &[109],
        lag: 9,
        silent_s: 0,
        allowed: 0,
        status: Status::Stall,
    },
];

#[test]
fn the_rules_word_by_word() {
    for case in CASES {
        let commits = commits(case.commits);
        let last_ms = commits.last().map_or(0, |commit| commit.timestamp_ms);
        let input = Input {
            commits: &commits,
            broker_end_offsets: case.ends,
            current_lag: case.lag,
            now_ms: last_ms + case.silent_s * 1000,
            allowed_lag: case.allowed,
        };
        let (status, reason) = evaluate(&input);
        assert_eq!(status, case.status, "{}: {reason}", case.what);
    }
}

#[test]
fn now_has_whole_seconds_and_commits_have_milliseconds() {
    let commits = [Commit { timestamp_ms: 10_500, ..commit(0, 1, Some(5)) }];
    let at = |now_ms| {
        let input = Input { commits: &commits, broker_end_offsets: &[], current_lag: 5, now_ms, allowed_lag: 0 };
        evaluate(&input).0
    };
    // 10,999 counts as 10,000 and lies before the commit.
    assert_eq!((at(10_999), at(11_000)), (Status::Stall, Status::Stop));
}

#[test]
fn a_group_is_as_bad_as_its_worst_partition_but_never_worse_than_err() {
    let of = |statuses: &[Status]| group(Some(&statuses.iter().map(|s| (*s, 1.0)).collect::<Vec<_>>())).0;
    assert_eq!(of(&[Status::Ok, Status::Warn]), Status::Warn);
    for bad in [Status::Stop, Status::Stall, Status::Rewind] {
        assert_eq!(of(&[Status::Warn, bad, Status::Ok]), Status::Err);
    }
    assert_eq!(group(None), (Status::NotFound, 1.0));
    assert_eq!(group(Some(&[])), (Status::Ok, 0.0));
    assert_eq!(group(Some(&[(Status::Ok, 1.0), (Status::Ok, 0.5)])), (Status::Ok, 0.5));
    assert_eq!((complete(5, 10), complete(10, 10), complete(0, 0)), (0.5, 1.0, 1.0));
}

#[test]
fn commits_that_come_fast_share_a_slot_and_keep_its_time() {
    let settings = Settings { min_distance: 10, intervals: 3, ..Settings::default() };
    let all: Vec<Commit> =
        [0, 4, 9, 10, 19, 21, 40].iter().enumerate().map(|(n, s)| commit(*s, n as i64, None)).collect();
    let kept: Vec<(i64, i64)> = ring(&all, &settings).iter().map(|c| (c.timestamp_ms / 1000, c.offset)).collect();
    assert_eq!(kept, [(10, 4), (21, 5), (40, 6)]);
    let plain = Settings { min_distance: 0, ..settings };
    assert_eq!(ring(&all, &plain).len(), 3);
}

fn window<'a>(commits: &'a [Commit], marks: &'a [Mark], now_ms: i64) -> Window<'a> {
    Window {
        now_ms,
        commits,
        exact_commits: true,
        marks,
        read_committed: false,
        membership: Membership::Unknown,
        membership_since_ms: 0,
        owned: None,
        unread_since_ms: Err(Unknown::NotYet),
        moved_ms: None,
        sibling_moved_ms: None,
    }
}

#[test]
fn a_live_window_is_judged_as_its_ring() {
    let all = commits(RISING);
    let mark = |at_s: i64, end| Mark { at_ms: at_s * 1000, log_start: 0, stable_end: None, end };
    let settings = Settings::default();
    let of = |marks: &[Mark], now_s: i64| judge(&window(&all, marks, now_s * 1000), &settings).verdict;
    assert_eq!(of(&[mark(200, 440)], 240), Verdict::Warn);
    assert_eq!(of(&[mark(362, 440)], 362), Verdict::Stop);
    // Caught up within the last ten refreshes, and before them.
    assert_eq!(of(&[mark(300, 400), mark(362, 440)], 362), Verdict::Warn);
    assert_eq!(of(&[mark(200, 400), mark(362, 440)], 362), Verdict::Stop);
    // No end offset: no lag, and so no trouble.
    assert_eq!(of(&[], 999), Verdict::Ok);
    // After a week the group does not exist any more.
    assert_eq!(of(&[mark(362, 440)], 700_000), Verdict::Unknown);
    let incomplete = Settings { minimum_complete: 0.5, ..settings };
    assert_eq!(judge(&window(&all, &[mark(362, 440)], 362_000), &incomplete).verdict, Verdict::Ok);
    let judgement = judge(&window(&all, &[mark(362, 440)], 362_000), &settings);
    assert_eq!(judgement.why, "no commit for 3 min 2 s though 40 offsets are unread; all commits known span 3 min");
    assert_eq!(judgement.numbers["silent_ms"], 182_000);
}

/// The rules again, each as a question of its own.
mod plain {
    use super::*;

    pub fn status(input: &Input<'_>) -> Status {
        let commits = input.commits;
        if commits.is_empty() || input.current_lag <= input.allowed_lag {
            return Status::Ok;
        }
        if is_stopped(input) {
            return Status::Stop;
        }
        if is_rewound(commits) {
            return Status::Rewind;
        }
        let lags: Vec<i64> = commits.iter().filter_map(|commit| commit.lag).collect();
        if lags.iter().min().is_some_and(|least| *least <= input.allowed_lag) {
            return Status::Ok;
        }
        let offsets: std::collections::BTreeSet<i64> = commits.iter().map(|commit| commit.offset).collect();
        if offsets.len() == 1 {
            return Status::Stall;
        }
        let mut sorted = lags.clone();
        sorted.sort_unstable();
        if sorted == lags { Status::Warn } else { Status::Ok }
    }

    fn is_stopped(input: &Input<'_>) -> bool {
        let times: Vec<i64> = input.commits.iter().map(|commit| commit.timestamp_ms).collect();
        let (first, last) = (times[0], times[times.len() - 1]);
        let committed = input.commits[times.len() - 1].offset;
        let least_end = input.broker_end_offsets.iter().min();
        (input.now_ms / 1000) * 1000 - last > last - first && least_end.is_none_or(|end| *end > committed)
    }

    fn is_rewound(commits: &[Commit]) -> bool {
        for at in 1..commits.len() {
            let before = commits[at - 1].offset;
            if commits[at].offset < before {
                let highest_after = commits[at..].iter().map(|commit| commit.offset).max();
                return highest_after < Some(before);
            }
        }
        false
    }
}

fn any_commits() -> impl Strategy<Value = Vec<Commit>> {
    // Few values, so that equal offsets, rewinds, recoveries and lags at the bound come up often.
    prop::collection::vec((0i64..4000, -3i64..8, prop::option::of(0i64..5)), 0..12).prop_map(|steps| {
        let (mut at_ms, mut offset) = (1_000_000, 100);
        let mut commits = Vec::new();
        for (n, (pause, step, lag)) in steps.into_iter().enumerate() {
            at_ms += pause;
            offset += step;
            commits.push(Commit { offset, order: n as i64, timestamp_ms: at_ms, lag, by_tool: false });
        }
        commits
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn two_writings_of_the_rules_agree(
        commits in any_commits(),
        ends in prop::collection::vec(95i64..140, 0..4),
        current_lag in 0i64..5,
        later_ms in 0i64..40_000,
        allowed_lag in 0i64..3,
    ) {
        let now_ms = commits.last().map_or(0, |commit| commit.timestamp_ms) + later_ms;
        let input = Input { commits: &commits, broker_end_offsets: &ends, current_lag, now_ms, allowed_lag };
        prop_assert_eq!(evaluate(&input).0, plain::status(&input));
    }

    #[test]
    fn the_ring_never_grows_and_keeps_the_newest(commits in any_commits(), min_distance in 0i64..6, intervals in 1usize..8) {
        let settings = Settings { min_distance, intervals, ..Settings::default() };
        let ring = ring(&commits, &settings);
        prop_assert!(ring.len() <= intervals);
        prop_assert_eq!(ring.last().map(|c| c.offset), commits.last().map(|c| c.offset));
        for pair in ring.windows(2) {
            prop_assert!(pair[1].timestamp_ms - pair[0].timestamp_ms >= min_distance * 1000);
        }
    }
}
