//! What losses of a hop have in common, from batches and records to the finding: each planted cause is named, and only it.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::plan::{Flow, Rule, Stage};
use super::*;
use crate::audit::finding::Kind;
use crate::audit::patterns::summary::Found;
use crate::identify::facts::BatchFacts;
use crate::identify::{Rules, StageRules};
use crate::wire::Codec;
use crate::wire::encode::RecordBuffer;

const PARTITIONS: i32 = 4;
const BATCH: usize = 20;
const BATCHES: usize = 2_000;
const MINUTE: i64 = 60_000;
const BEGIN: i64 = 1_700_000_000_000;

/// A batch of the first stage, and what its records say.
#[derive(Clone, Copy)]
struct Sent {
    at_ms: i64,
    partition: i32,
    facts: BatchFacts,
    schema: u32,
    is_retry: bool,
    deploy: i64,
    deployed_ms: i64,
    producer_ms: i64,
}

struct Plain;

impl Names for Plain {
    fn name(&self, partition: u32) -> (&str, i32) {
        ("orders", partition as i32)
    }
}

fn flow() -> Flows {
    let stage = |name: &str, after| Stage {
        name: name.to_owned(),
        topic: name.to_owned(),
        after,
        rule: Rule::ExactlyOne,
        deadline_ms: 1_000,
        slo: None,
        agree: Vec::new(),
    };
    let stages = vec![stage("orders", None), stage("payments", Some(0))];
    let flow = Flow { name: "f".to_owned(), stages, clock_bound_ms: 1_000, most_open: 1_000_000 };
    Flows::new(Arc::new(flow), FlowState::default())
}

/// One record of a batch, read as the source's are.
fn step(seen: &mut Observations, sent: &Sent, id: u128, size: usize) {
    let value = [&[0][..], &sent.schema.to_be_bytes(), &vec![b'x'; size]].concat();
    let deploy = format!("v{}", sent.deploy);
    let mut headers: Vec<(&[u8], Option<&[u8]>)> = vec![(b"version", Some(deploy.as_bytes()))];
    if sent.is_retry {
        headers.push((b"x-retry", Some(b"1")));
    }
    let mut buffer = RecordBuffer::default();
    let key = id.to_string();
    buffer.push(id as i64, sent.at_ms, Some(key.as_bytes()), Some(&value), &headers);
    let rules = StageRules { deploy: Some("version".to_owned()), ..StageRules::default() };
    let rules = Rules { id: "key".parse().ok(), stage: Some(rules), ..Rules::default() };
    let mut identifier = crate::identify::Identifier::new(rules, &[7; 192], "orders", sent.partition);
    seen.batch(sent.facts);
    for record in buffer.records() {
        identifier.observe(&record.unwrap(), sent.at_ms, id as u64, seen).unwrap();
    }
}

/// A day of batches from eight producers, which now and then begin anew, as do deployments.
fn traffic(rng: &mut StdRng) -> Vec<Sent> {
    let mut epochs = [(0i16, BEGIN); 8];
    let mut deployed = (0, BEGIN);
    let one = |n: usize| {
        let at_ms = BEGIN + n as i64 * 24 * 60 * MINUTE / BATCHES as i64;
        let producer = rng.random_range(0..8);
        let is_first = n < 100 && epochs[producer].0 == 0 || rng.random_bool(0.02);
        if is_first {
            epochs[producer] = (epochs[producer].0 + 1, at_ms);
        }
        if n % 66 == 65 {
            deployed = (deployed.0 + 1, at_ms);
        }
        let partition = rng.random_range(0..PARTITIONS);
        let facts = BatchFacts {
            producer: 1_000 + producer as i64,
            producer_epoch: epochs[producer].0,
            leader_epoch: 10 * partition + i32::from(n > BATCHES / 2),
            codec: Some([Codec::Lz4, Codec::Zstd, Codec::None][rng.random_range(0..3)]),
            is_transactional: false,
            is_first,
        };
        Sent {
            at_ms,
            partition,
            facts,
            schema: rng.random_range(100..104),
            is_retry: rng.random_bool(0.2),
            deploy: deployed.0,
            deployed_ms: deployed.1,
            producer_ms: epochs[producer].1,
        }
    };
    (0..BATCHES).map(one).collect()
}

/// What is said when a record of a batch is lost with the probability that `rate` gives.
fn said(seed: u64, rate: impl Fn(&Sent) -> f64) -> Vec<(String, String)> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut flows = flow();
    let mut found = Vec::new();
    for (n, sent) in traffic(&mut rng).iter().enumerate() {
        let mut seen = Observations::default();
        for row in 0..BATCH {
            step(&mut seen, sent, (n * BATCH + row) as u128, rng.random_range(10..4_000));
        }
        let origins = flows.origins(0, sent.partition as u32, &seen);
        assert_eq!(origins.len(), BATCH);
        for (step, origin) in seen.steps.iter().zip(origins) {
            flows.take(step, origin, 0, sent.partition as u32, &Plain, &mut found);
            if !rng.random_bool(rate(sent)) {
                flows.take(step, Origin::default(), 1, PARTITIONS as u32, &Plain, &mut found);
            }
        }
        if n == BATCHES / 2 {
            // A restart in the middle of it.
            let bytes = postcard::to_stdvec(&flows.state).unwrap();
            flows = Flows::new(flows.flow.clone(), postcard::from_bytes(&bytes).unwrap());
        }
    }
    let clock = StageClock { slowest: i64::MAX, caught_up: true, is_whole: true, reads_from: i64::MIN };
    for (id, doubt) in flows.due(&[clock; 2]) {
        flows.decide(id, &doubt, None, &[clock; 2], &Plain, &mut found);
    }
    let mut patterns = Found::default();
    flows.patterns(false, &mut patterns);
    let of = |name: &str, finding: &Finding| finding.evidence[name].as_str().unwrap().to_owned();
    let is_cause = |finding: &&Finding| finding.kind == Kind::DimensionalLoss;
    let causes = patterns.findings.iter().filter(is_cause);
    causes
        .inspect(|finding| assert!(!finding.evidence.contains_key("together_with"), "{}", finding.why))
        .map(|finding| (of("dimension", finding), of("value", finding)))
        .collect()
}

fn only(dimension: &str, value: &str) -> Vec<(String, String)> {
    vec![(dimension.to_owned(), value.to_owned())]
}

/// A rate for what is bad; one in a thousand of the rest is lost too.
fn bad(is_bad: bool, rate: f64) -> f64 {
    if is_bad { rate } else { 0.001 }
}

#[test]
fn what_a_batch_says_of_all_its_records_is_named() {
    for seed in [1, 2] {
        assert_eq!(said(seed, |s| bad(s.facts.codec == Some(Codec::Zstd), 0.05)), only("codec", "zstd"));
        assert_eq!(said(seed, |s| bad(s.facts.producer == 1_003, 0.06)), only("producer", "1003"));
        assert_eq!(said(seed, |s| bad(s.facts.leader_epoch == 21, 0.06)), only("leader-epoch", "21"));
    }
}

#[test]
fn what_a_record_says_of_itself_is_named() {
    for seed in [1, 2] {
        assert_eq!(said(seed, |s| bad(s.schema == 102, 0.05)), only("schema-id", "102"));
        assert_eq!(said(seed, |s| bad(s.is_retry, 0.05)), only("header:x-retry", "present"));
    }
}

#[test]
fn what_follows_a_deployment_or_a_start_of_a_producer_is_named() {
    // Batches are 43 seconds apart.
    let is_young = |since: i64, s: &Sent| s.at_ms - since < 10 * MINUTE;
    assert_eq!(said(1, |s| bad(s.deploy > 0 && is_young(s.deployed_ms, s), 0.2)), only("since-deploy", "< 10 min"));
    assert_eq!(said(1, |s| bad(is_young(s.producer_ms, s), 0.1)), only("since-producer", "< 10 min"));
}

#[test]
fn nothing_is_named_where_nothing_has_an_effect() {
    for seed in 0..4 {
        assert_eq!(said(seed, |_| 0.01), []);
        assert_eq!(said(seed + 10, |s| if s.at_ms / (40 * MINUTE) % 7 == 0 { 0.05 } else { 0.001 }), [], "bursts");
    }
}
