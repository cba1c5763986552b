use super::*;
use crate::audit::finding::Kind;
use crate::drift::shape::Row;

const CONFIRM_AFTER: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(10), Duration::from_secs(60)];

fn queue() -> Queue {
    Queue::new(1 << 20, 10, &CONFIRM_AFTER)
}

fn key(name: &str) -> Key {
    vec![name.to_owned()]
}

fn version(offset: i64) -> Version {
    let content = Content::Row(Row { keys: key("k"), values: vec![Some(offset.to_string())] });
    Version { partition: 0, offset, timestamp: 0, checksum: 0, content, is_open: true }
}

fn tail(name: &str, offsets: std::ops::Range<i64>) -> Histories {
    let history = History { versions: offsets.map(version).collect(), forgotten: 0 };
    [(key(name), history)].into()
}

fn below(offset: i64) -> Settled {
    Settled::new([(0, offset)])
}

fn wrong(name: &str) -> Finding {
    Finding::new(Kind::Missing, "t", &[&name], "it is not there".to_owned())
}

fn due(queue: &mut Queue, now_ms: i64, settled: i64) -> Vec<Key> {
    queue.settle(&below(settled));
    queue.due(now_ms, |_| true, 100)
}

fn judged(queue: &mut Queue, name: &str, found: Option<Finding>, settled: i64, now_ms: i64) -> Vec<Finding> {
    queue.settle(&below(settled));
    queue.judged(&key(name), &Verdict::Fine, found, now_ms)
}

#[test]
fn a_key_is_looked_at_once_the_group_has_passed_it() {
    let mut queue = queue();
    queue.take(tail("a", 5..8));
    assert!(due(&mut queue, 0, 5).is_empty(), "nothing of it must have arrived");
    assert_eq!(due(&mut queue, 0, 6), [key("a")]);
    assert!(judged(&mut queue, "a", None, 6, 0).is_empty());
    assert!(due(&mut queue, 0, 6).is_empty(), "it was looked at");
    assert_eq!(queue.waiting(), 1, "two versions are on their way");
    assert_eq!(due(&mut queue, 0, 8), [key("a")]);
    judged(&mut queue, "a", None, 8, 0);
    assert_eq!((queue.waiting(), queue.bytes), (0, 0));
}

#[test]
fn what_stays_wrong_is_drift_after_the_last_look_and_is_resolved_when_it_heals() {
    let mut queue = queue();
    queue.take(tail("a", 5..6));
    assert!(judged(&mut queue, "a", Some(wrong("a")), 6, 0).is_empty());
    assert_eq!((queue.suspects(), queue.findings()[0].grade), (1, Grade::Possible));
    for (at, next) in [(1_000, 10_000), (10_000, 60_000)] {
        assert!(due(&mut queue, at - 1, 6).is_empty());
        assert_eq!(due(&mut queue, at, 6), [key("a")]);
        assert!(judged(&mut queue, "a", Some(wrong("a")), 6, at).is_empty());
        assert!(due(&mut queue, next - 1, 6).is_empty());
    }
    // The last look needs all versions of the key.
    assert!(judged(&mut queue, "a", Some(wrong("a")), 6, 60_000).is_empty());
    assert_eq!(queue.undecided(10), [key("a")]);
    assert!(due(&mut queue, 99_000, 6).is_empty());
    queue.complete(&key("a"), tail("a", 0..6).remove(&key("a")));
    let told = judged(&mut queue, "a", Some(wrong("a")), 6, 61_000);
    assert_eq!((told.len(), told[0].grade, told[0].first_seen), (1, Grade::Proven, Some(0)));
    assert_eq!(told[0].evidence["attempts"], 5);
    assert_eq!(told[0].evidence["age_seconds"], 61);
    assert_eq!(queue.ages(61_000).iter().map(|age| age.keys).collect::<Vec<_>>(), [1, 1, 1, 0, 0, 0]);
    assert!(judged(&mut queue, "a", Some(wrong("a")), 6, 71_000).is_empty(), "it is told once");
    let healed = judged(&mut queue, "a", None, 6, 81_000);
    assert_eq!((healed.len(), healed[0].state, &healed[0].id), (1, State::Resolved, &told[0].id));
    assert_eq!((queue.waiting(), queue.suspects(), queue.bytes, queue.resolved_total), (0, 0, 0, 1));
}

#[test]
fn what_rights_itself_in_time_is_never_told() {
    let mut queue = queue();
    queue.take(tail("a", 5..6));
    judged(&mut queue, "a", Some(wrong("a")), 6, 0);
    assert!(judged(&mut queue, "a", None, 6, 1_000).is_empty());
    assert!(queue.findings().is_empty() && queue.resolved_total == 0);
}

#[test]
fn wrong_in_another_way_is_another_finding() {
    let mut queue = queue();
    queue.complete(&key("a"), None);
    judged(&mut queue, "a", Some(wrong("a")), 6, 0);
    assert_eq!(judged(&mut queue, "a", Some(wrong("a")), 6, 60_000).len(), 1);
    let told = judged(&mut queue, "a", Some(wrong("b")), 6, 70_000);
    assert_eq!(told.iter().map(|finding| finding.state).collect::<Vec<_>>(), [State::Resolved, State::Open]);
    // What cannot be verified any more is not healed.
    assert!(queue.judged(&key("a"), &Verdict::Unverifiable("retention"), None, 80_000).is_empty());
    assert_eq!((queue.findings()[0].state, queue.unverifiable["retention"]), (State::Open, 1));
}

#[test]
fn memory_is_bounded_and_what_is_dropped_is_counted() {
    let mut queue = Queue::new(2_000, 1, &CONFIRM_AFTER);
    for number in 0..100 {
        queue.take(tail(&number.to_string(), 0..1));
    }
    assert!(queue.bytes < 2_500 && queue.waiting() + queue.dropped == 100, "{} {}", queue.bytes, queue.dropped);
    let dropped = queue.dropped;
    judged(&mut queue, "0", Some(wrong("0")), 1, 0);
    judged(&mut queue, "1", Some(wrong("1")), 1, 0);
    assert_eq!((queue.suspects(), queue.dropped - dropped), (1, 1));
}

#[test]
fn a_tail_that_lost_its_place_judges_nothing_by_what_it_knew() {
    let mut queue = queue();
    queue.take(tail("a", 5..6));
    queue.take(tail("b", 5..6));
    judged(&mut queue, "b", Some(wrong("b")), 6, 0);
    queue.forget();
    assert!(due(&mut queue, 99_000, 9).is_empty());
    assert_eq!((queue.undecided(10), queue.dropped), (vec![key("b")], 1));
}

#[test]
fn keys_of_partitions_that_could_not_be_read_wait() {
    let mut queue = queue();
    queue.take(tail("a", 5..6));
    queue.settle(&below(6));
    assert!(queue.due(0, |partition| partition != Some(0), 9).is_empty());
}
