//! The default rules on single windows: what Burrow gets wrong, what must be said at one look, and what is healthy though
//! it does not look so.

use super::*;

#[test]
fn b1_a_second_rewind_counts_though_the_first_was_made_good() {
    let offsets = [1000, 900, 1000, 500, 600];
    let commits: Vec<_> = (0..).zip(offsets).map(|(n, offset)| (n * 10_000, offset, 1_200 - offset)).collect();
    let made = Made::new(&commits, 45_000, 600);
    assert_eq!(by_burrow(&made.window()), Verdict::Ok);
    let judgement = said(&made.window());
    assert_eq!(judgement.verdict, Verdict::Rewind);
    assert_eq!(judgement.numbers["reread_records"], 500);
    assert_eq!(judgement.numbers["behind_former"], 400);
    // Past its former position all is well again.
    let mut recovered = commits.clone();
    recovered.push((50_000, 1_001, 199));
    assert_eq!(verdict(&Made::new(&recovered, 55_000, 199).window()), Verdict::Ok);
}

#[test]
fn b2_losing_ground_in_a_sawtooth_is_seen() {
    // Every other commit gains a little; on the whole a third of what is written stays unread.
    let commits: Vec<_> = (0..12i64)
        .map(|n| (n * MINUTE, 4_000 * n, 2_000 + 2_000 * n - if n % 2 == 0 { 2_500.min(2_000 * n) } else { 0 }))
        .collect();
    assert!(commits.windows(2).any(|pair| pair[1].2 < pair[0].2));
    let last = commits[11];
    let made = Made::new(&commits, last.0 + 20_000, last.2);
    assert_eq!(by_burrow(&made.window()), Verdict::Ok);
    let judgement = said(&made.window());
    assert_eq!(judgement.verdict, Verdict::Warn, "{}", judgement.why);
    assert!(judgement.numbers["rise"] > 0);
}

#[test]
fn a_rise_of_a_handful_of_offsets_is_no_trend() {
    // A record every 20 s; commits now and then leave one more of them. Ten times as many records make a trend of the same.
    let lags = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4];
    let of = |times: i64| {
        let commits: Vec<_> =
            (0..).zip(lags).map(|(n, lag)| (n * 40_000, times * (2 * n - lag), times * lag)).collect();
        Made::new(&commits, 11 * 40_000 + 10_000, 4 * times)
    };
    let (few, many) = (said(&of(1).stable()), said(&of(10).stable()));
    assert_eq!(few.verdict, Verdict::Ok, "{}", few.why);
    assert_eq!(many.verdict, Verdict::Warn, "{}", many.why);
    assert!((10..50).contains(&many.numbers["rise"]), "a tenth of it is a handful: {}", many.why);
}

#[test]
fn b3_one_commit_is_no_history() {
    let made = Made::new(&[(0, 100, 5)], 1_000, 5);
    assert_eq!(by_burrow(&made.window()), Verdict::Stop);
    assert_eq!(verdict(&made.window()), Verdict::Ok);
    let at_once = Made::new(&[(0, 100, 5)], 0, 5);
    assert_eq!((by_burrow(&at_once.window()), verdict(&at_once.window())), (Verdict::Stall, Verdict::Ok));
    // It does not stay unsaid for ever.
    assert_eq!(verdict(&Made::new(&[(0, 100, 5)], 16 * MINUTE, 5).window()), Verdict::Stop);
}

#[test]
fn b4_a_silence_is_measured_by_the_usual_pause_and_not_by_the_window() {
    let commits: Vec<_> = (0..10).map(|n| (n * HOUR, 1_000 * n, 100 - n % 2)).collect();
    let after = |hours: i64| Made::new(&commits, (9 + hours) * HOUR, 3_000);
    assert_eq!((by_burrow(&after(9).window()), by_burrow(&after(10).window())), (Verdict::Ok, Verdict::Stop));
    assert_eq!((verdict(&after(1).window()), verdict(&after(3).window())), (Verdict::Ok, Verdict::Stop));
}

#[test]
fn the_reason_has_the_numbers() {
    let commits: Vec<_> = (0..12).map(|n| (n * 5_000, 100 * n, if n == 11 { 1_200 } else { 20 })).collect();
    let made = Made::new(&commits, 55_000 + 250_000, 1_200);
    let judgement = said(&made.window());
    assert_eq!(
        judgement.why,
        "no commit for 4 min 10 s, while 1,200 offsets have waited for 4 min 10 s; it usually commits every 5.0 s"
    );
    assert_eq!((judgement.numbers["silent_ms"], judgement.numbers["lag"]), (250_000, 1_200));
}

#[test]
fn a_record_that_just_came_does_not_make_a_quiet_consumer_stop() {
    let commits: Vec<_> = (0..10).map(|n| (n * 5_000, 100, 0)).collect();
    let days = 3 * 24 * HOUR;
    let mut made = Made::new(&commits, days, 0);
    assert_eq!(verdict(&made.window()), Verdict::Ok);
    made.marks.push(mark(days + 10_000, 101));
    made.now_ms = days + 10_000;
    assert_eq!(verdict(&made.window()), Verdict::Ok);
    made.now_ms = days + 115_000;
    made.marks.push(mark(made.now_ms, 101));
    assert_eq!((by_burrow(&made.window()), verdict(&made.window())), (Verdict::Stop, Verdict::Ok));
    // A record with a time of long ago, written just now.
    let old = Window { unread_since_ms: Ok(-days), ..made.window() };
    assert_eq!(verdict(&old), Verdict::Ok);
    made.now_ms = days + 4 * MINUTE;
    made.marks.push(mark(made.now_ms, 101));
    assert_eq!(verdict(&made.window()), Verdict::Stop);
}

#[test]
fn markers_at_rest_are_nothing_to_read() {
    let commits: Vec<_> = (0..10).map(|n| (n * 5_000, 100 + n, 1)).collect();
    let made = Made::new(&commits, HOUR, 2);
    assert_eq!(verdict(&made.window()), Verdict::Stop);
    assert_eq!(verdict(&Window { unread_since_ms: Ok(HOUR), ..made.window() }), Verdict::Ok);
}

#[test]
fn commits_without_progress_are_a_stall_or_a_stuck_partition() {
    let commits: Vec<_> = (0..24).map(|n| (n * 10_000, 100 + n.min(6), 500)).collect();
    let made = Made::new(&commits, 235_000, 500);
    assert_eq!(verdict(&made.stable()), Verdict::Stall);
    let stuck = Window { sibling_moved_ms: Some(234_000), ..made.stable() };
    let judgement = said(&stuck);
    assert_eq!(judgement.verdict, Verdict::Stuck);
    assert!(judgement.why.ends_with("other partitions of the group moved 1.0 s ago"), "{}", judgement.why);
    // The others had their last records before this one stopped.
    assert_eq!(verdict(&Window { sibling_moved_ms: Some(10_000), ..made.stable() }), Verdict::Stall);
    assert_eq!(verdict(&Window { now_ms: 150_000, commits: &made.commits[..15], ..made.stable() }), Verdict::Ok);
}

#[test]
fn a_standstill_longer_than_the_window_needs_what_is_remembered() {
    // A commit a second: the window covers less than half a minute.
    let commits: Vec<_> = (0..24).map(|n| (10 * MINUTE + n * 1_000, 100, 500)).collect();
    let made = Made::new(&commits, 10 * MINUTE + 24_000, 500);
    let waited = Window { unread_since_ms: Ok(0), ..made.stable() };
    assert_eq!(verdict(&waited), Verdict::Ok);
    assert_eq!(verdict(&Window { moved_ms: Some(MINUTE), ..waited }), Verdict::Stall);
    assert_eq!(verdict(&Window { moved_ms: Some(9 * MINUTE), ..waited }), Verdict::Ok);
}

#[test]
fn without_exact_commits_the_membership_tells_silence_from_standstill() {
    let commits: Vec<_> = (0..8).map(|n| (n * 10_000, 100 * n, if n == 7 { 900 } else { 5 })).collect();
    let made = Made::new(&commits, 6 * MINUTE, 900);
    let of = |membership| {
        let window =
            Window { exact_commits: false, membership, membership_since_ms: MINUTE, owned: None, ..made.window() };
        verdict(&window)
    };
    assert_eq!(of(Membership::Unknown), Verdict::Stop);
    assert_eq!(of(Membership::Stable), Verdict::Stall);
    assert_eq!(of(Membership::Empty), Verdict::NoOwner);
    assert_eq!(of(Membership::Rebalancing), Verdict::Stall);
}

#[test]
fn a_group_that_left_after_few_commits_has_no_owner() {
    let of = |commits: &[(i64, i64, i64)], after: i64| {
        let left_ms = commits.last().unwrap().0;
        let made = Made::new(commits, left_ms + after, 50);
        let empty =
            Window { membership: Membership::Empty, membership_since_ms: left_ms, owned: None, ..made.window() };
        verdict(&Window { unread_since_ms: Ok(left_ms + 1), ..empty })
    };
    let moments = [(0, 60, 40), (5, 100, 0), (9, 110, 0)];
    for commits in 1..=moments.len() {
        assert_eq!(of(&moments[..commits], MINUTE / 2), Verdict::Ok, "{commits} commits");
        assert_eq!(of(&moments[..commits], 2 * MINUTE), Verdict::NoOwner, "{commits} commits");
    }
    // One that runs by the hour is not missed before it is late.
    let hourly = [(0, 60, 40), (HOUR, 100, 0)];
    assert_eq!(of(&hourly, HOUR + 5 * MINUTE), Verdict::Ok);
    assert_eq!(of(&hourly, 2 * HOUR + 5 * MINUTE), Verdict::NoOwner);
}

#[test]
fn one_look_says_what_one_look_can_say() {
    let made = Made { commits: vec![commit(HOUR, 100, 50)], marks: vec![mark(HOUR, 150)], now_ms: HOUR };
    let look = Window { exact_commits: false, membership_since_ms: HOUR, ..made.stable() };
    assert_eq!(verdict(&look), Verdict::Unknown);
    assert_eq!(verdict(&Window { unread_since_ms: Ok(HOUR - 5_000), ..look }), Verdict::Ok);
    assert_eq!(verdict(&Window { unread_since_ms: Ok(HOUR - 20 * MINUTE), ..look }), Verdict::Warn);
    // Nobody there is trouble once a record has waited, and a consumer that assigns its partitions itself never has members.
    for alone in [Window { membership: Membership::Empty, ..look }, Window { owned: Some(false), ..look }] {
        assert_eq!(verdict(&alone), Verdict::Unknown);
        assert_eq!(verdict(&Window { unread_since_ms: Ok(HOUR - 5_000), ..alone }), Verdict::Ok);
        assert_eq!(verdict(&Window { unread_since_ms: Ok(HOUR - 2 * MINUTE), ..alone }), Verdict::NoOwner);
    }
    let thresholds = Thresholds { allowed_lag: 50, ..Thresholds::default() };
    let empty = Window { membership: Membership::Empty, ..look };
    assert_eq!(judge(&empty, &thresholds).verdict, Verdict::Ok);
    let marks = [Mark { log_start: 130, ..mark(HOUR, 150) }];
    let judgement = said(&Window { marks: &marks, ..look });
    assert_eq!(judgement.verdict, Verdict::Lost);
    assert_eq!((judgement.numbers["lost"], judgement.numbers["lag"]), (30, 20));
    assert!(judgement.why.contains("offsets 100 to 129, 30 in all"), "{}", judgement.why);
    assert_eq!(verdict(&Window { commits: &[], ..look }), Verdict::Unknown);
    assert_eq!(verdict(&Window { marks: &[], ..look }), Verdict::Unknown);
    let beyond = [commit(0, 200, 0)];
    assert_eq!(verdict(&Window { commits: &beyond, ..look }), Verdict::Unknown);
}

#[test]
fn a_tool_that_moves_a_group_over_records_skips_them() {
    let mut commits: Vec<Commit> = (0..5).map(|n| commit(n * 10_000, 100 * n, 5_000)).collect();
    commits.push(Commit { by_tool: true, ..commit(HOUR, 5_000, 400) });
    let marks = [mark(0, 5_000), mark(HOUR, 5_400), mark(HOUR + 1_000, 5_400)];
    let made = Made { commits, marks: marks.to_vec(), now_ms: HOUR + 1_000 };
    let judgement = said(&made.window());
    assert_eq!(judgement.verdict, Verdict::Skip);
    assert_eq!((judgement.numbers["skipped"], judgement.numbers["skipped_from"]), (4_600, 400));
    // An event does not stay news for ever, and what retention had taken before was not skipped.
    assert_ne!(verdict(&Window { now_ms: 3 * HOUR, ..made.window() }), Verdict::Skip);
    let deleted = marks.map(|mark| Mark { log_start: 5_000, ..mark });
    assert_ne!(verdict(&Window { marks: &deleted, ..made.window() }), Verdict::Skip);
    // Taken back: what was leapt over will be read, for the first time.
    let mut back = made.commits.clone();
    back.push(Commit { by_tool: true, ..commit(HOUR + 500, 400, 5_000) });
    assert!(!matches!(verdict(&Window { commits: &back, ..made.window() }), Verdict::Skip | Verdict::Rewind));
}

#[test]
fn a_consumer_without_membership_is_no_tool() {
    // Flink and others assign partitions themselves; the group never has a member.
    let commits: Vec<Commit> = (0..12).map(|n| Commit { by_tool: true, ..commit(n * 10_000, 100 * n, 50) }).collect();
    let marks: Vec<Mark> = commits.iter().map(|c| mark(c.timestamp_ms, c.offset + 50)).collect();
    let made = Made { commits, marks, now_ms: 115_000 };
    let window = Window { membership: Membership::Empty, membership_since_ms: -HOUR, ..made.window() };
    assert_eq!(verdict(&window), Verdict::Ok);
    assert_eq!(verdict(&Window { now_ms: 5 * MINUTE, ..window }), Verdict::NoOwner);
}

#[test]
fn a_jump_faster_than_anything_reads_is_a_skip() {
    let made = Made::new(&[(0, 0, 900_000_000), (5_000, 5_000, 899_995_000), (10_000, 900_000_000, 10)], 11_000, 10);
    let judgement = said(&made.stable());
    assert_eq!((judgement.verdict, judgement.numbers["skipped"]), (Verdict::Skip, 899_995_000));
    // The same way over hours is a fast reader that commits seldom.
    let slow = Made::new(&[(0, 0, 900_000_000), (5_000, 5_000, 899_995_000), (HOUR, 900_000_000, 0)], HOUR, 0);
    assert_eq!(verdict(&slow.stable()), Verdict::Ok);
}

#[test]
fn a_rebalance_is_waited_for_and_does_not_wake_what_had_stopped() {
    let commits: Vec<_> = (0..12).map(|n| (n * 5_000, 100 * n, 80)).collect();
    let made = Made::new(&commits, 55_000 + 3 * MINUTE, 9_000);
    let rebalancing = |since: i64| Window {
        membership: Membership::Rebalancing,
        membership_since_ms: made.now_ms - since,
        ..made.window()
    };
    assert_eq!(verdict(&rebalancing(50_000)), Verdict::Stop);
    let soon = Made::new(&commits, 55_000 + 2 * MINUTE + 20_000, 9_000);
    assert_eq!(
        verdict(&Window { membership: Membership::Rebalancing, membership_since_ms: 145_000, ..soon.window() }),
        Verdict::Ok
    );
}

#[test]
fn a_slight_step_back_gets_time_to_be_made_good() {
    let mut commits: Vec<_> = (0..12).map(|n| (n * 5_000, 100 * n, 80)).collect();
    commits.push((60_000, 1_000, 200));
    let made = Made::new(&commits, 61_000, 250);
    assert_eq!(verdict(&made.stable()), Verdict::Ok);
    assert_eq!(verdict(&Window { now_ms: 95_000, ..made.stable() }), Verdict::Rewind);
    commits.push((65_000, 0, 1_300));
    assert_eq!(verdict(&Made::new(&commits, 66_000, 1_300).stable()), Verdict::Rewind);
}

#[test]
fn a_hanging_transaction_hides_records_from_committed_readers() {
    let marks: Vec<Mark> =
        (0..20).map(|n| Mark { stable_end: Some(100.min(20 * n)), ..mark(n * MINUTE, 20 * n) }).collect();
    let thresholds = Thresholds { hanging_after: std::time::Duration::from_secs(600), ..Thresholds::default() };
    let judgement = hanging(&marks, 19 * MINUTE, &thresholds).unwrap();
    assert_eq!((judgement.numbers["stands_ms"], judgement.numbers["hidden"]), (13 * MINUTE, 280));
    assert_eq!(hanging(&marks, 19 * MINUTE, &Thresholds::default()), None);
    assert_eq!(hanging(&marks[..6], 19 * MINUTE, &thresholds), None);
    assert_eq!(hanging(&[], 0, &thresholds), None);
    let made = Made { commits: vec![commit(5 * MINUTE, 100, 0)], marks, now_ms: 19 * MINUTE };
    let committed = Window { read_committed: true, ..made.stable() };
    assert_eq!(judge(&committed, &thresholds).verdict, Verdict::HangingTransaction);
    assert_eq!(judge(&committed, &Thresholds::default()).verdict, Verdict::Ok);
}

#[test]
fn a_group_that_caught_up_after_an_outage_is_well() {
    // Steady, then an hour of nothing, then ten minutes a minute.
    let mut commits: Vec<_> = (0..10).map(|n| (n * 5_000, 500 * n, 40)).collect();
    let restart = 45_000 + HOUR;
    commits.extend((0..8).map(|n| (restart + n * 5_000, 5_000 + 5_000 * n, 360_000 - 4_500 * n)));
    for known in 11..=commits.len() {
        let (at, _, lag) = commits[known - 1];
        let made = Made::new(&commits[..known], at + 2_000, lag + 200);
        let window = Window { unread_since_ms: Ok(at - 50 * MINUTE), ..made.stable() };
        assert_eq!(verdict(&window), Verdict::Ok, "{known}: {}", said(&window).why);
    }
}
