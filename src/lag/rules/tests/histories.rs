//! Whole histories: healthy ones never get a bad verdict at any look, and what goes wrong gets its name in time.

use proptest::prelude::*;

use super::world::{Consumer, Event, Plan, Producer, World};
use super::*;

const HOURS: i64 = 3_600;

fn producers() -> impl Strategy<Value = Producer> {
    prop_oneof![
        (1i64..2_000).prop_map(Producer::Steady),
        (1i64..500, 20i64..900, 20i64..4_000).prop_map(|(rate, busy_s, idle_s)| Producer::Phases {
            rate,
            busy_s,
            idle_s
        }),
        (5i64..2_000).prop_map(Producer::Sparse),
        (10i64..500).prop_map(Producer::Bursts),
    ]
}

/// A speed that copes with this producer.
fn enough(producer: Producer) -> i64 {
    match producer {
        Producer::Steady(rate) | Producer::Phases { rate, .. } => 2 * rate,
        Producer::Sparse(_) => 50,
        Producer::Bursts(rate) => 2 * rate + rate / 2,
    }
}

fn running(producer: Producer) -> impl Strategy<Value = Consumer> {
    let commit_s = prop::sample::select(vec![1i64, 5, 10, 30]);
    (commit_s, any::<bool>()).prop_map(move |(commit_s, repeats)| Consumer::Running {
        capacity: enough(producer),
        commit_s,
        repeats,
    })
}

/// A watcher that knows enough to say that markers are markers.
fn plans(seconds: i64) -> impl Strategy<Value = Plan> {
    let consumers = producers().prop_flat_map(|producer| (Just(producer), running(producer)));
    let knows = (any::<bool>(), any::<bool>(), any::<bool>());
    (consumers, knows, -5_000i64..5_000, prop::sample::select(vec![5i64, 10, 30]), any::<u64>()).prop_map(
        move |((producer, consumer), (is_transactional, is_exact, knows_times), skew_ms, look_s, seed)| Plan {
            producer,
            consumer,
            is_transactional,
            is_exact,
            knows_times: knows_times || is_transactional,
            skew_ms,
            look_s,
            seconds,
            events: Vec::new(),
            seed,
        },
    )
}

/// First bad verdict, and when.
fn first_bad(plan: Plan, from_s: i64) -> Option<(i64, Judgement)> {
    let thresholds = Thresholds::default();
    let mut world = World::new(plan);
    while let Some(second) = world.step() {
        if world.looked() && second >= from_s {
            let judgement = judge(&world.window(), &thresholds);
            if judgement.verdict.is_bad() {
                return Some((second, judgement));
            }
        }
    }
    None
}

fn expect(plan: Plan, fault_s: i64, within_s: i64, wanted: &[Verdict]) -> Result<(), TestCaseError> {
    match first_bad(plan.clone(), 0) {
        Some((second, judgement)) => {
            prop_assert!(second >= fault_s, "{second} s, too early: {judgement:?} in {plan:?}");
            prop_assert!(second <= fault_s + within_s, "{second} s, too late: {judgement:?} in {plan:?}");
            prop_assert!(wanted.contains(&judgement.verdict), "{second} s: {judgement:?} in {plan:?}");
        }
        None => prop_assert!(false, "never said in {plan:?}"),
    }
    Ok(())
}

/// Steady traffic, so that the time until a fault shows is bounded.
fn busy(seconds: i64) -> impl Strategy<Value = Plan> {
    (plans(seconds), 5i64..500).prop_flat_map(|(plan, rate)| {
        let producer = Producer::Steady(rate);
        running(producer).prop_map(move |consumer| Plan { producer, consumer, ..plan.clone() })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn a_consumer_that_copes_is_never_blamed(plan in plans(2 * HOURS)) {
        let found = first_bad(plan.clone(), 0);
        prop_assert!(found.is_none(), "{found:?} in {plan:?}");
    }

    #[test]
    fn a_batch_that_runs_by_the_clock_is_never_blamed(plan in busy(20 * HOURS), every_s in 60i64..4_000) {
        let plan = Plan { consumer: Consumer::Batch { every_s }, look_s: 30, ..plan };
        // Its rhythm has to be seen first.
        let found = first_bad(plan.clone(), 6 * every_s);
        prop_assert!(found.is_none(), "{found:?} in {plan:?}");
    }

    #[test]
    fn short_rebalances_and_restarts_are_never_blamed(
        plan in plans(2 * HOURS),
        pauses in prop::collection::vec((200i64..1_500, 1i64..55, any::<bool>()), 1..5),
    ) {
        let mut at = 0;
        let mut events = Vec::new();
        for (after, lasting, leaves) in pauses {
            at += after;
            events.push((at, if leaves { Event::Leaves } else { Event::Rebalances }));
            at += lasting;
            events.push((at, Event::Returns));
        }
        let plan = Plan { events, ..plan };
        let found = first_bad(plan.clone(), 0);
        prop_assert!(found.is_none(), "{found:?} in {plan:?}");
    }

    #[test]
    fn catching_up_after_an_outage_is_not_blamed(plan in busy(3 * HOURS), outage_s in 300i64..1_800) {
        let capacity = match plan.producer { Producer::Steady(rate) => 4 * rate, _ => 4 };
        let Consumer::Running { commit_s, repeats, .. } = plan.consumer else { return Ok(()) };
        let consumer = Consumer::Running { capacity, commit_s, repeats };
        let events = vec![(1_000, Event::Leaves), (1_000 + outage_s, Event::Returns)];
        let plan = Plan { consumer, events, ..plan };
        // Two commits after the return tell that it reads on.
        let found = first_bad(plan.clone(), 1_000 + outage_s + 2 * commit_s + 3 * plan.look_s);
        prop_assert!(found.is_none(), "{found:?} in {plan:?}");
    }

    #[test]
    fn a_group_that_leaves_has_no_owner(plan in busy(2 * HOURS), at in 600i64..2_000) {
        let plan = Plan { events: vec![(at, Event::Leaves)], ..plan };
        expect(plan, at, 180, &[Verdict::NoOwner])?;
    }

    #[test]
    fn a_consumer_that_hangs_stalls_or_stops(plan in busy(2 * HOURS), at in 600i64..2_000) {
        let plan = Plan { events: vec![(at, Event::Hangs)], ..plan };
        let Consumer::Running { repeats, .. } = plan.consumer else { return Ok(()) };
        let wanted = if plan.is_exact && !repeats { Verdict::Stop } else { Verdict::Stall };
        expect(plan, at, 240, &[wanted])?;
    }

    #[test]
    fn a_consumer_that_no_longer_commits_stops(plan in busy(2 * HOURS), at in 600i64..2_000) {
        let plan = Plan { events: vec![(at, Event::StopsCommitting)], ..plan };
        let wanted = if plan.is_exact { Verdict::Stop } else { Verdict::Stall };
        expect(plan, at, 240, &[wanted])?;
    }

    #[test]
    fn a_consumer_that_is_too_slow_is_warned_about(plan in busy(4 * HOURS), at in 600i64..2_000) {
        let Producer::Steady(rate) = plan.producer else { return Ok(()) };
        let plan = Plan { events: vec![(at, Event::Slows((rate * 3 / 5).max(1)))], ..plan };
        expect(plan, at, 1_800, &[Verdict::Warn])?;
    }

    #[test]
    fn a_far_rewind_is_seen_at_once(plan in busy(HOURS), at in 900i64..2_000) {
        let Producer::Steady(rate) = plan.producer else { return Ok(()) };
        // The commits kept have to reach back to the last look.
        let Consumer::Running { commit_s, .. } = plan.consumer else { return Ok(()) };
        prop_assume!(20 * commit_s >= plan.look_s);
        let by = 500 * rate;
        let plan = Plan { events: vec![(at, Event::Rewinds(by))], ..plan };
        let late = 2 * plan.look_s;
        expect(plan, at, late, &[Verdict::Rewind])?;
    }
}
