//! Only distances count.

use proptest::prelude::*;

use super::*;

fn any_window() -> impl Strategy<Value = Made> {
    let commit = (0i64..400_000, -50i64..300, prop::option::of(0i64..600), prop::bool::weighted(0.05));
    let mark = (0i64..200_000, 0i64..400, 0i64..100);
    (prop::collection::vec(commit, 0..26), prop::collection::vec(mark, 0..30), 0i64..2_000_000).prop_map(
        |(steps, marks, later)| {
            let (mut at, mut offset, mut made) = (1_000_000, 1_000, Made { commits: vec![], marks: vec![], now_ms: 0 });
            for (n, (pause, step, lag, by_tool)) in steps.into_iter().enumerate() {
                (at, offset) = (at + pause, offset + step);
                made.commits.push(Commit { offset, order: n as i64, timestamp_ms: at, lag, by_tool });
            }
            let (mut at, mut end, mut log_start) = (1_000_000, 1_000, 0);
            for (pause, written, deleted) in marks {
                (at, end, log_start) = (at + pause, end + written, log_start + deleted);
                made.marks.push(Mark { at_ms: at, log_start, stable_end: Some(end - written / 2), end });
            }
            made.now_ms = made.commits.last().map_or(0, |c| c.timestamp_ms).max(at) + later;
            made
        },
    )
}

fn shifted(made: &Made, by_ms: i64, by: i64) -> Made {
    let commit = |c: &Commit| Commit { offset: c.offset + by, timestamp_ms: c.timestamp_ms + by_ms, ..*c };
    let mark = |m: &Mark| Mark {
        at_ms: m.at_ms + by_ms,
        log_start: m.log_start + by,
        stable_end: m.stable_end.map(|end| end + by),
        end: m.end + by,
    };
    Made {
        commits: made.commits.iter().map(commit).collect(),
        marks: made.marks.iter().map(mark).collect(),
        now_ms: made.now_ms + by_ms,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Only distances count, not where on the clock or in the log they lie.
    #[test]
    fn shifting_times_and_offsets_changes_no_verdict(
        made in any_window(),
        by_ms in -900_000i64..2_000_000_000_000,
        by in 0i64..1_000_000_000,
        exact_commits in any::<bool>(),
        read_committed in any::<bool>(),
        membership in prop::sample::select(vec![
            Membership::Unknown, Membership::Empty, Membership::Rebalancing, Membership::Stable,
        ]),
        since in 0i64..3_000_000,
        sibling in prop::option::of(0i64..3_000_000),
        unread in prop::option::of(0i64..3_000_000),
    ) {
        let moved = shifted(&made, by_ms, by);
        let of = |made: &Made, by_ms: i64| {
            let window = Window {
                exact_commits,
                read_committed,
                membership,
                membership_since_ms: since + by_ms,
                sibling_moved_ms: sibling.map(|at| at + by_ms),
                unread_since_ms: unread.map(|at| at + by_ms).ok_or(Unknown::NotYet),
                ..made.window()
            };
            (said(&window), burrow::judge(&Window { marks: &[], ..window }, &burrow::Settings::default()).verdict)
        };
        let ((before, burrow_before), (after, burrow_after)) = (of(&made, 0), of(&moved, by_ms));
        prop_assert_eq!(before.verdict, after.verdict, "{} / {}", before.why, after.why);
        prop_assert_eq!(burrow_before, burrow_after);
        prop_assert!(before.window_ms.0 <= before.window_ms.1);
        prop_assert!(!before.why.is_empty() && !before.why.contains("18446744073709551"));
    }
}
