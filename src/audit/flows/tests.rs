//! Flows against a naive model that knows the whole history, and cases worked out by hand.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::plan::{Flow, Rule, Stage};
use super::*;
use crate::audit::finding::{Grade, Kind, State};
use crate::identify::facts::NO_FACTS;

const SECOND: i64 = 1_000;
const DEADLINE: i64 = 30 * SECOND;

struct Plain;

impl Names for Plain {
    fn name(&self, partition: u32) -> (&str, i32) {
        (["a", "b", "c"][partition as usize % 3], 0)
    }
}

fn stage(name: &str, after: Option<usize>, rule: Rule) -> Stage {
    Stage {
        name: name.to_owned(),
        topic: name.to_owned(),
        after,
        rule,
        deadline_ms: DEADLINE,
        slo: None,
        agree: if name == "c" { Vec::new() } else { vec!["amount".to_owned()] },
    }
}

fn flow(rule: Rule) -> Flows {
    let stages =
        vec![stage("a", None, Rule::ExactlyOne), stage("b", Some(0), rule), stage("c", Some(1), Rule::ExactlyOne)];
    Flows::new(
        Arc::new(Flow { name: "f".to_owned(), stages, clock_bound_ms: SECOND, most_open: 1_000 }),
        FlowState::default(),
    )
}

fn two() -> Flows {
    let stages = vec![stage("a", None, Rule::ExactlyOne), stage("b", Some(0), Rule::ExactlyOne)];
    Flows::new(
        Arc::new(Flow { name: "f".to_owned(), stages, clock_bound_ms: SECOND, most_open: 1_000 }),
        FlowState::default(),
    )
}

fn step(id: u128, at_ms: i64) -> Step {
    Step {
        id,
        offset: at_ms,
        timestamp: at_ms,
        stream_time: at_ms,
        rank: at_ms as u64,
        checksum: 1,
        facts: NO_FACTS,
        agree: 7,
        lanes: 7,
        key: 0,
        size: 5,
        amount: None,
        number: None,
    }
}

fn clocks(slowest: i64, stages: usize) -> Vec<StageClock> {
    vec![StageClock { slowest, caught_up: true, is_whole: true, reads_from: i64::MIN }; stages]
}

/// What the ledger would say.
type Ledger = BTreeSet<(usize, u128)>;

struct World {
    flows: Flows,
    ledger: Ledger,
    said: BTreeMap<String, Finding>,
}

impl World {
    fn new(flows: Flows) -> Self {
        Self { flows, ledger: Ledger::new(), said: BTreeMap::new() }
    }

    fn hear(&mut self, found: Vec<Finding>) {
        self.said.extend(found.into_iter().map(|finding| (finding.id.clone(), finding)));
    }

    fn take(&mut self, stage: usize, step: &Step) {
        let mut found = Vec::new();
        self.flows.take(step, Origin::default(), stage, stage as u32, &Plain, &mut found);
        self.ledger.insert((stage, step.id));
        self.hear(found);
    }

    fn judge(&mut self, clocks: &[StageClock]) {
        let mut found = Vec::new();
        for (id, doubt) in self.flows.due(clocks) {
            let sight =
                self.ledger.contains(&(doubt.asks(), id)).then(|| Sight::of(&step(id, 0), doubt.asks() as u8, 0));
            self.flows.decide(id, &doubt, sight, clocks, &Plain, &mut found);
        }
        self.hear(found);
    }

    /// Kind, stage and state of everything that was said.
    fn says(&self) -> Vec<(Kind, String, State)> {
        let of = |f: &Finding| (f.kind, f.evidence["stage"].as_str().unwrap_or_default().to_owned(), f.state);
        let mut all: Vec<_> = self.said.values().map(of).collect();
        all.sort_by_key(|(kind, stage, state)| (*kind, stage.clone(), *state as u8));
        all
    }
}

#[test]
fn a_transaction_that_passes_leaves_nothing() {
    let mut world = World::new(flow(Rule::ExactlyOne));
    for stage in 0..3 {
        world.take(stage, &step(1, stage as i64 * SECOND));
    }
    world.judge(&clocks(i64::MAX, 3));
    assert!(world.said.is_empty() && world.flows.state.open.is_empty());
    let summary = world.flows.summary();
    assert_eq!(summary.stages[2].hop.as_ref().unwrap().matched, 1);
}

#[test]
fn it_is_missing_only_when_its_time_is_over_for_every_partition_and_then_at_one_hop() {
    let mut world = World::new(flow(Rule::ExactlyOne));
    world.take(0, &step(1, 0));
    world.judge(&clocks(DEADLINE, 3));
    assert!(world.said.is_empty(), "the deadline itself is still in time");
    let mut behind = clocks(DEADLINE + 1, 3);
    behind[1].caught_up = false;
    world.judge(&behind);
    assert!(world.said.is_empty(), "the stage has not been read");
    world.judge(&clocks(DEADLINE + 1, 3));
    assert_eq!(world.says(), [(Kind::MissingStage, "b".to_owned(), State::Open)]);
    let finding = world.said.values().next().unwrap();
    assert_eq!((finding.grade, &finding.evidence["last_stage"]), (Grade::Proven, &"a".into()));
    assert_eq!(finding.sightings.len(), 1);
}

#[test]
fn what_comes_late_resolves_what_was_said() {
    let mut world = World::new(flow(Rule::ExactlyOne));
    world.take(0, &step(1, 0));
    world.judge(&clocks(DEADLINE + 1, 3));
    world.take(1, &step(1, 2 * DEADLINE));
    assert_eq!(world.says(), [(Kind::MissingStage, "b".to_owned(), State::Resolved)]);
    // It goes on from there.
    world.judge(&clocks(10 * DEADLINE, 3));
    assert_eq!(
        world.says(),
        [(Kind::MissingStage, "b".to_owned(), State::Resolved), (Kind::MissingStage, "c".to_owned(), State::Open)]
    );
    let hop = world.flows.summary().stages[1].hop.clone().unwrap();
    assert_eq!((hop.missing, hop.late, hop.matched), (0, 1, 1));
}

#[test]
fn a_stage_that_was_skipped_is_missing_though_a_later_one_was_seen() {
    let mut world = World::new(flow(Rule::ExactlyOne));
    world.take(0, &step(1, 0));
    world.take(2, &step(1, SECOND));
    world.judge(&clocks(DEADLINE + 1 + SECOND, 3));
    assert_eq!(world.says(), [(Kind::MissingStage, "b".to_owned(), State::Open)]);
    assert_eq!(world.said.values().next().unwrap().evidence["later_stages"], serde_json::json!(["c"]));
}

#[test]
fn an_effect_without_a_cause_is_unexpected_unless_the_cause_may_not_have_been_read() {
    let mut world = World::new(two());
    world.take(1, &step(1, 100 * SECOND));
    let mut trimmed = clocks(1_000 * SECOND, 2);
    trimmed[0].reads_from = 80 * SECOND;
    world.judge(&trimmed);
    assert!(world.said.is_empty(), "the cause may lie in what was trimmed");
    assert_eq!(world.flows.summary().stages[1].hop.as_ref().unwrap().uncovered, 1);
    world.take(1, &step(2, 200 * SECOND));
    world.judge(&trimmed);
    assert_eq!(world.says(), [(Kind::UnexpectedRecord, "b".to_owned(), State::Open)]);
    // A copy of what was complete is no effect without a cause: the ledger remembers it.
    world.take(0, &step(3, 300 * SECOND));
    world.take(1, &step(3, 301 * SECOND));
    world.take(1, &step(3, 302 * SECOND));
    world.judge(&trimmed);
    assert_eq!(world.said.len(), 1);
    assert!(world.flows.state.open.is_empty());
}

#[test]
fn what_was_not_read_whole_is_only_possible() {
    let mut world = World::new(two());
    world.take(0, &step(1, 0));
    let mut torn = clocks(DEADLINE + 1, 2);
    torn[1].is_whole = false;
    world.judge(&torn);
    assert_eq!(world.said.values().next().unwrap().grade, Grade::Possible);
}

#[test]
fn content_and_amounts_must_agree() {
    let mut world = World::new(two());
    world.take(0, &step(1, 0));
    world.take(1, &Step { agree: 8, lanes: 8, ..step(1, SECOND) });
    assert_eq!(world.says(), [(Kind::StageMismatch, "b".to_owned(), State::Open)]);
    let mut world = World::new(flow(Rule::FanOut(3)));
    world.take(0, &Step { amount: Some(10), ..step(1, 0) });
    for part in [3, 3] {
        world.take(1, &Step { amount: Some(part), ..step(1, SECOND) });
    }
    world.judge(&clocks(SECOND, 3));
    assert!(world.said.is_empty());
    world.take(1, &Step { amount: Some(3), ..step(1, 2 * SECOND) });
    let said = world.said.values().next().unwrap();
    assert_eq!((said.kind, said.cause.as_deref()), (Kind::StageMismatch, Some("amount")));
    assert_eq!(said.evidence["columns"]["amount"]["actual"], "0.000009");
}

#[test]
fn a_part_of_a_fan_out_is_not_all_of_it_whatever_the_ledger_remembers() {
    let mut world = World::new(flow(Rule::FanOut(3)));
    world.take(0, &step(1, 0));
    world.take(1, &step(1, SECOND));
    world.judge(&clocks(DEADLINE + 1, 3));
    assert_eq!(world.says(), [(Kind::MissingStage, "b".to_owned(), State::Open)]);
    let why = &world.said.values().next().unwrap().why;
    assert!(why.ends_with("1 of its 3 records did"), "{why}");
    assert!(!world.flows.is_waiting());
}

#[test]
fn one_branch_of_a_choice_is_enough_and_none_is_too_few() {
    let mut stages = vec![
        stage("a", None, Rule::ExactlyOne),
        stage("b", Some(0), Rule::OneOf(0)),
        stage("c", Some(0), Rule::OneOf(0)),
    ];
    stages[2].agree.clear();
    let flow = Arc::new(Flow { name: "f".to_owned(), stages, clock_bound_ms: SECOND, most_open: 10 });
    let mut world = World::new(Flows::new(flow, FlowState::default()));
    world.take(0, &step(1, 0));
    world.take(2, &step(1, SECOND));
    world.take(0, &step(2, 0));
    world.judge(&clocks(DEADLINE + 1, 3));
    assert_eq!(world.says(), [(Kind::MissingStage, "b".to_owned(), State::Open)]);
}

#[test]
fn too_many_open_transactions_are_given_up_and_counted_but_the_ledger_still_knows() {
    let mut world = World::new(two());
    for id in 0..1_000u128 {
        world.take(0, &step(id, id as i64));
    }
    // The second stage was seen of the oldest, though the table no longer holds it.
    world.ledger.insert((1, 0));
    let mut unread = clocks(0, 2);
    unread[1].caught_up = false;
    world.judge(&unread);
    assert!(world.flows.state.open.len() < 1_000);
    let given_up = 1_000 - world.flows.state.open.len() as u64 - 1;
    assert_eq!(world.flows.given_up(), given_up);
    assert!(world.said.is_empty());
}

#[test]
fn some_effects_before_their_cause_are_possible_findings_and_most_are_a_matter_of_clocks() {
    let mut world = World::new(two());
    for id in 0..10u128 {
        world.take(0, &step(id, 100 * SECOND));
        world.take(1, &step(id, if id == 0 { 90 * SECOND } else { 101 * SECOND }));
    }
    let mut standing = Vec::new();
    world.flows.standing(&mut standing);
    assert_eq!((standing.len(), standing[0].grade, standing[0].count), (1, Grade::Possible, 1));
    let mut world = World::new(two());
    for id in 0..10u128 {
        world.take(0, &step(id, 1_000 * SECOND));
        world.take(1, &step(id, 700 * SECOND));
    }
    let mut standing = Vec::new();
    world.flows.standing(&mut standing);
    assert!(standing.is_empty());
    assert!(world.flows.clocks_that_differ()[0].contains("10 of 10 records"));
}

#[test]
fn a_restart_goes_on_where_it_was() {
    let mut world = World::new(flow(Rule::ExactlyOne));
    world.take(0, &step(1, 0));
    world.take(0, &step(2, SECOND));
    world.take(1, &step(2, 2 * SECOND));
    let bytes = postcard::to_stdvec(&world.flows.state).unwrap();
    let again = Flows::new(world.flows.flow.clone(), postcard::from_bytes(&bytes).unwrap());
    let (mut before, mut after) = (world, World::new(again));
    after.ledger = before.ledger.clone();
    for world in [&mut before, &mut after] {
        world.take(1, &step(1, 3 * SECOND));
        world.judge(&clocks(i64::MAX, 3));
    }
    assert_eq!(before.said, after.said);
    assert_eq!(before.flows.summary(), after.flows.summary());
    assert_eq!(before.says().len(), 2);
}

/// What one transaction does at the stages of a chain: when each sees it, if at all.
fn history() -> impl Strategy<Value = Vec<[Option<i64>; 3]>> {
    let seen = |p| prop::option::weighted(p, 0i64..200);
    prop::collection::vec((seen(0.9), seen(0.8), seen(0.8)).prop_map(|(a, b, c)| [a, b, c]), 1..40)
}

proptest! {
    /// The definition, word by word, on a history that is known as a whole: in whatever order records are read, and
    /// wherever the state is written down and read again.
    #[test]
    fn it_says_what_the_definition_says(
        history in history(),
        shuffle in any::<u64>(),
        cut in 0usize..100,
    ) {
        let mut expected: Vec<(u128, Kind, &str)> = Vec::new();
        for (id, [a, b, c]) in history.iter().enumerate() {
            let id = id as u128;
            match (a, b, c) {
                (Some(_), None, _) => expected.push((id, Kind::MissingStage, "b")),
                (None, Some(_), _) => expected.push((id, Kind::UnexpectedRecord, "b")),
                (Some(_), Some(_), None) => expected.push((id, Kind::MissingStage, "c")),
                (None, None, Some(_)) => expected.push((id, Kind::UnexpectedRecord, "c")),
                _ => {}
            }
        }
        let mut records: Vec<(usize, u128, i64)> = history
            .iter()
            .enumerate()
            .flat_map(|(id, at)| at.iter().enumerate().filter_map(move |(stage, at)| Some((stage, id as u128, (*at)?))))
            .collect();
        let mut state = shuffle | 1;
        records.sort_by_cached_key(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 20
        });
        let mut world = World::new(flow(Rule::ExactlyOne));
        for (number, (stage, id, at)) in records.iter().enumerate() {
            if number == cut {
                let bytes = postcard::to_stdvec(&world.flows.state).unwrap();
                world.flows = Flows::new(world.flows.flow.clone(), postcard::from_bytes(&bytes).unwrap());
            }
            world.take(*stage, &step(*id, at * SECOND));
        }
        world.judge(&clocks(10_000 * SECOND, 3));
        world.judge(&clocks(10_000 * SECOND, 3));
        let mut said: Vec<(u128, Kind, String)> = world
            .said
            .values()
            .map(|f| {
                let id = u128::from_str_radix(&f.identity.as_ref().unwrap().hash, 16).unwrap();
                (id, f.kind, f.evidence["stage"].as_str().unwrap().to_owned())
            })
            .collect();
        said.sort();
        let expected: Vec<(u128, Kind, String)> = expected.into_iter().map(|(id, kind, stage)| (id, kind, stage.to_owned())).collect();
        prop_assert_eq!(said, expected);
    }
}
