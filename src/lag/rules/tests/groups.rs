//! A group of what its partitions are.

use super::*;

fn about(changes_ms: &[i64]) -> About<'_> {
    About {
        now_ms: HOUR,
        is_required: false,
        is_listed: Some(true),
        vanished_ms: None,
        last_lag: None,
        is_gone_known: false,
        changes_ms,
    }
}

#[test]
fn a_group_is_what_its_worst_partition_is_unless_it_is_worse_itself() {
    let thresholds = Thresholds::default();
    let of = |verdict| say(verdict, "because".to_owned(), &[], (0, HOUR));
    let judgements = [of(Verdict::Ok), of(Verdict::Stall), of(Verdict::Warn), of(Verdict::Unknown)];
    let parts = |of: std::ops::Range<usize>| {
        judgements[of].iter().zip(0..).map(|(judgement, partition)| Part { topic: "t", partition, judgement })
    };
    let worst = judge_group(&about(&[]), parts(0..4), &thresholds);
    assert_eq!((worst.verdict, worst.why.as_str()), (Verdict::Stall, "t[1]: because"));
    assert_eq!(judge_group(&about(&[]), parts(0..1), &thresholds).verdict, Verdict::Ok);
    assert_eq!(judge_group(&about(&[]), parts(3..4), &thresholds).verdict, Verdict::Unknown);
    let mixed = judge_group(&about(&[]), [parts(0..1), parts(3..4)].into_iter().flatten(), &thresholds);
    assert_eq!(mixed.why, "1 of 2 partitions are well, nothing is known of the others");
    let often = [HOUR - 9 * MINUTE, HOUR - 5 * MINUTE, HOUR - 4 * MINUTE, HOUR - MINUTE, HOUR];
    assert_eq!(judge_group(&about(&often), parts(0..1), &thresholds).verdict, Verdict::Flapping);
    assert_eq!(judge_group(&about(&often), parts(0..4), &thresholds).verdict, Verdict::Stall);
    assert_eq!(judge_group(&about(&often[1..]), parts(0..1), &thresholds).verdict, Verdict::Ok);
    let vanished = About { is_listed: Some(false), vanished_ms: Some(0), last_lag: Some(7), ..about(&[]) };
    assert_eq!(judge_group(&vanished, [], &thresholds).why, "the group vanished 1 h ago and left 7 offsets unread");
    assert_eq!(judge_group(&About { is_gone_known: true, ..vanished }, [], &thresholds).verdict, Verdict::Ok);
    assert_eq!(judge_group(&About { last_lag: Some(0), ..vanished }, [], &thresholds).verdict, Verdict::Ok);
    let required = About { is_required: true, is_listed: Some(false), ..about(&[]) };
    assert_eq!(judge_group(&required, [], &thresholds).verdict, Verdict::Absent);
    assert_eq!(judge_group(&About { is_listed: None, ..required }, [], &thresholds).verdict, Verdict::Ok);
}
