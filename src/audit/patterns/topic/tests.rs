//! Losses of sessions and of producers against what was planted, from batches to the finding.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::sampling::Sampler;
use super::*;
use crate::audit::finding::{Kind, Span};
use crate::identify::facts::BatchFacts;
use crate::wire::Codec;

const PARTITIONS: usize = 4;
const SESSIONS: usize = 8;
const BATCHES: usize = 6_000;
const BATCH: i64 = 20;
const BEGIN: i64 = 1_700_000_000_000;
const HOUR: i64 = 3_600_000;

/// A batch of one session on one partition.
#[derive(Clone, Copy)]
struct Sent {
    at_ms: i64,
    partition: i32,
    session: usize,
    facts: BatchFacts,
}

struct World {
    rng: StdRng,
    patterns: TopicPatterns,
    findings: Vec<Finding>,
    /// By partition.
    samplers: Vec<Sampler>,
    offsets: Vec<i64>,
    /// By partition and session: the next number, and what is missing before it.
    next: Vec<i64>,
    missing: Vec<i64>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            patterns: TopicPatterns::default(),
            findings: Vec::new(),
            samplers: (0..PARTITIONS as i32).map(Sampler::new).collect(),
            offsets: vec![0; PARTITIONS],
            next: vec![0; PARTITIONS * SESSIONS],
            missing: vec![0; PARTITIONS * SESSIONS],
        }
    }

    /// Six hours of batches; a third of the records loses its way.
    fn batch(&mut self, n: usize) -> Sent {
        let (partition, session) = (self.rng.random_range(0..PARTITIONS), self.rng.random_range(0..SESSIONS));
        let facts = BatchFacts {
            producer: 4_000 + session as i64 / 2,
            leader_epoch: 7 + 10 * partition as i32 + i32::from(n > BATCHES / 3),
            codec: Some([Codec::None, Codec::Lz4, Codec::Zstd][self.rng.random_range(0..3)]),
            ..BatchFacts::NONE
        };
        let at_ms = BEGIN + n as i64 * 6 * HOUR / BATCHES as i64;
        Sent { at_ms, partition: partition as i32, session, facts }
    }

    fn pass(&mut self, sent: &Sent, lost: impl Fn(&mut StdRng) -> bool) {
        let (lane, partition) = (sent.partition as usize * SESSIONS + sent.session, sent.partition as usize);
        let mut sampler = self.samplers[partition];
        sampler.begin(self.offsets[partition], self.offsets[partition] as u64);
        let mut records = 0;
        for _ in 0..BATCH {
            if lost(&mut self.rng) {
                self.missing[lane] += 1;
                continue;
            }
            let missing = std::mem::take(&mut self.missing[lane]);
            if missing > 0 {
                let numbers = Span::new(self.next[lane], self.next[lane] + missing);
                self.next[lane] = numbers.until;
                self.gap(sent, numbers);
            }
            self.next[lane] += 1;
            records += 1;
            if let Some(rank) = sampler.take(self.offsets[partition]) {
                let name = format!("s{}", sent.session);
                let sampled = Sampled { rank, facts: sent.facts, at_ms: sent.at_ms, key: 0, session: Some(1) };
                self.patterns.sampled(sent.partition, &sampled, Some(&name));
            }
            self.offsets[partition] += 1;
        }
        self.samplers[partition] = sampler;
        let traffic = Traffic { facts: sent.facts, from_ms: sent.at_ms, at_ms: sent.at_ms, records };
        self.patterns.traffic(sent.partition, &traffic);
        self.patterns.settle();
    }

    fn gap(&mut self, sent: &Sent, numbers: Span) {
        let session = format!("s{}", sent.session);
        let partition = Some(sent.partition);
        let says: [&dyn std::fmt::Display; 3] = [&session, &sent.partition, &numbers.from];
        let mut finding = Finding::new(Kind::SequenceGap, "t", &says, String::new());
        (finding.partition, finding.numbers, finding.session) = (partition, Some(numbers), Some(session.clone()));
        self.findings.push(finding);
        self.patterns.gap(Gap { partition, session, numbers, facts: sent.facts, at_ms: sent.at_ms, key: 0 });
    }

    fn said(&self) -> Vec<Finding> {
        let mut found = Found::default();
        self.patterns.search("t", &self.findings.iter().collect::<Vec<_>>(), &mut found);
        found.findings
    }
}

/// What is named when a record of a batch is lost with the probability that `rate` gives: dimension and value.
fn said(seed: u64, rate: impl Fn(&Sent) -> f64) -> Vec<(String, String)> {
    let mut world = World::new(seed);
    for n in 0..BATCHES {
        let sent = world.batch(n);
        let rate = rate(&sent);
        world.pass(&sent, |rng| rng.random_bool(rate));
    }
    let bytes = postcard::to_stdvec(&world.patterns).unwrap();
    let before = world.said();
    world.patterns = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(before, world.said(), "a restart changes nothing");
    let of = |name: &str, finding: &Finding| finding.evidence[name].as_str().unwrap().to_owned();
    before.iter().map(|finding| (of("dimension", finding), of("value", finding))).collect()
}

fn bad(is_bad: bool) -> f64 {
    if is_bad { 0.03 } else { 0.001 }
}

fn only(dimension: &str, value: &str) -> Vec<(String, String)> {
    vec![(dimension.to_owned(), value.to_owned())]
}

#[test]
fn the_planted_cause_is_named_and_only_it() {
    for seed in [1, 2] {
        assert_eq!(said(seed, |sent| bad(sent.session == 5)), only("session", "s5"));
        assert_eq!(said(seed, |sent| bad(sent.facts.producer == 4_002)), only("producer", "4002"));
        assert_eq!(said(seed, |sent| bad(sent.partition == 1)), only("partition", "1"));
        assert_eq!(said(seed, |sent| bad(sent.facts.leader_epoch == 28)), only("leader-epoch", "28"));
        assert_eq!(said(seed, |sent| bad(sent.facts.codec == Some(Codec::Lz4))), only("codec", "lz4"));
    }
    let since = said(3, |sent| bad(sent.at_ms > BEGIN + 4 * HOUR));
    let [(dimension, value)] = &since[..] else { panic!("{since:?}") };
    let off_ms = value.parse::<i64>().unwrap() - BEGIN - 4 * HOUR;
    assert!(dimension == "time" && off_ms.abs() < HOUR / 4, "{since:?}");
}

/// Lines of text and old logs have batches that take hours.
#[test]
fn a_moment_is_found_inside_of_long_batches() {
    const RECORDS: i64 = 20_000;
    let (mut world, mut sampler) = (World::new(8), Sampler::new(0));
    sampler.begin(0, RECORDS as u64);
    let (mut records, only) = (0, Sent { partition: 0, ..world.batch(0) });
    for n in 0..RECORDS {
        let sent = Sent { at_ms: BEGIN + n * 1_000, ..only };
        if world.rng.random_bool(bad(n > RECORDS / 2)) {
            world.missing[0] += 1;
            continue;
        }
        let missing = std::mem::take(&mut world.missing[0]);
        if missing > 0 {
            world.gap(&sent, Span::new(n - missing, n));
        }
        records += 1;
        if let Some(rank) = sampler.take(n) {
            let sampled = Sampled { rank, facts: sent.facts, at_ms: sent.at_ms, key: 0, session: None };
            world.patterns.sampled(0, &sampled, None);
        }
        if n % 5_000 == 4_999 {
            let traffic = Traffic { facts: sent.facts, from_ms: sent.at_ms - 5_000_000, at_ms: sent.at_ms, records };
            world.patterns.traffic(0, &traffic);
            records = 0;
        }
    }
    world.patterns.settle();
    let said = world.said();
    let [finding] = &said[..] else { panic!("{said:?}") };
    assert_eq!(finding.evidence["dimension"], "time");
    let off_ms = finding.evidence["since_ms"].as_i64().unwrap() - BEGIN - RECORDS / 2 * 1_000;
    assert!(off_ms.abs() < 500_000, "{off_ms}");
}

#[test]
fn nothing_is_named_where_nothing_has_an_effect() {
    for seed in 10..14 {
        assert_eq!(said(seed, |_| 0.01), [], "independent");
        assert_eq!(said(seed, |_| 0.0003), [], "sparse");
        assert_eq!(said(seed, |sent| if sent.at_ms / 200_000 % 31 == 3 { 0.5 } else { 0.0005 }), [], "bursts");
        let drift = |sent: &Sent| 0.001 * 20f64.powf((sent.at_ms - BEGIN) as f64 / (6 * HOUR) as f64);
        assert_eq!(said(seed, drift), [], "drift");
    }
}

#[test]
fn an_outage_of_one_session_is_one_witness_however_many_it_took() {
    let mut world = World::new(5);
    for n in 0..BATCHES {
        let sent = world.batch(n);
        let is_out = sent.session == 3 && (2_000..2_400).contains(&n);
        world.pass(&sent, |rng| is_out || rng.random_bool(0.001));
    }
    let said: Vec<String> = world.said().into_iter().map(|finding| finding.why).collect();
    assert!(said.is_empty(), "{said:?}");
}

#[test]
fn what_came_late_and_what_is_only_possible_is_not_lost() {
    let mut world = World::new(6);
    for n in 0..BATCHES {
        let sent = world.batch(n);
        let rate = bad(sent.session == 5);
        world.pass(&sent, |rng| rng.random_bool(rate));
    }
    assert_eq!(world.said().len(), 1);
    for (finding, number) in world.findings.iter_mut().zip(0..) {
        match number % 2 {
            0 => finding.grade = Grade::Possible,
            _ => finding.state = crate::audit::finding::State::Resolved,
        }
    }
    assert_eq!(world.said(), []);
}
