//! One look-up, whoever holds the ledger at the moment.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::coverage::Reach;
use super::path::{Path as Way, beyond_horizon, kept_since};
use super::sought::mixed_up;
use super::{
    About, Answer, Arrival, AtRest, Candidate, Found, Hash, Holder, Live, Question, Sought, TraceError, Transaction,
    candidates,
};
use crate::audit::finding::Finding;
use crate::engine::state::FlowPlan;
use crate::identify::IdentityHasher;
use crate::ledger::{Key, LedgerError};

/// A process may just be starting, or ending.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(100);

/// All that one ledger knows of what was looked for.
pub struct Traced {
    pub about: About,
    /// By identity, also those of which nothing is known.
    pub found: Vec<Found>,
    /// Of a flow's ledger: the way of each transaction that is meant.
    pub ways: Vec<Way>,
}

/// Asks the ledger, or the process that uses it. Which of the two may change between two tries.
pub fn look_up(dir: &Path, sought: &Sought, topic: Option<&str>, key: Option<&Key>) -> Result<Traced, TraceError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answered = match AtRest::open(dir, key) {
            Ok(mut ledger) => {
                let secret = *ledger.ledger.secret();
                trace(&mut ledger, sought, topic, &secret)
            }
            Err(TraceError::Ledger(LedgerError::Locked { .. })) => ask_live(dir, sought, topic, key),
            Err(error) => Err(error),
        };
        match answered {
            Err(TraceError::NoAnswer { .. } | TraceError::Failed { .. }) if Instant::now() < deadline => {
                std::thread::sleep(PAUSE);
            }
            answered => return answered,
        }
    }
}

/// The key is read here and never sent.
fn ask_live(dir: &Path, sought: &Sought, topic: Option<&str>, key: Option<&Key>) -> Result<Traced, TraceError> {
    let mut live = Live::connect(dir)?;
    let key = match key {
        Some(key) => key.clone(),
        None => Key::of_ledger(dir)?,
    };
    let traced = trace(&mut live, sought, topic, key.secret())?;
    let is_same = traced.about.secret == Hash(key.id().into());
    is_same.then_some(traced).ok_or(TraceError::OtherKey)
}

fn about(holder: &mut dyn Holder) -> Result<About, TraceError> {
    match holder.ask(&Question::About)? {
        Answer::About(about) => Ok(about),
        _ => Err(mixed_up()),
    }
}

fn found(holder: &mut dyn Holder, identities: Vec<Hash>) -> Result<Vec<Found>, TraceError> {
    match holder.ask(&Question::Find { identities })? {
        Answer::Found { found } => Ok(found),
        _ => Err(mixed_up()),
    }
}

/// Looks for every identity that may be meant.
pub fn find(
    holder: &mut dyn Holder,
    sought: &Sought,
    topic: Option<&str>,
    secret: &[u8; 192],
) -> Result<(About, Vec<Found>), TraceError> {
    let about = about(holder)?;
    let candidates: Vec<Candidate> = candidates(sought, topic, &about, secret, holder)?;
    let identities = candidates.iter().map(|candidate| Hash(candidate.identity)).collect();
    let found = found(holder, identities)?;
    Ok((about, found))
}

/// As [`find`]; in a flow's ledger also what the identities of one transaction tell together.
pub fn trace(
    holder: &mut dyn Holder,
    sought: &Sought,
    topic: Option<&str>,
    secret: &[u8; 192],
) -> Result<Traced, TraceError> {
    let about = about(holder)?;
    let candidates: Vec<Candidate> = candidates(sought, topic, &about, secret, holder)?;
    let mut traced = match about.flow.clone() {
        Some(plan) => follow(holder, &plan, about, &candidates, secret)?,
        None => {
            let identities = candidates.iter().map(|candidate| Hash(candidate.identity)).collect();
            Traced { found: found(holder, identities)?, ways: Vec::new(), about }
        }
    };
    if let Some(topic) = topic {
        // A hash names no topic.
        traced.found.iter_mut().for_each(|found| found.arrivals.retain(|arrival| arrival.topic == topic));
        traced.ways.clear();
    }
    Ok(traced)
}

/// Every identity of the transactions that are meant, and their ways.
///
/// From a hash it is not known which topic's it is, so it is turned by every mask; masks commute, so what one record's hash and a
/// wrong mask give may be what another record's hash and another wrong mask give. A sighting therefore counts only under
/// the mask of the topic it was seen in.
fn follow(
    holder: &mut dyn Holder,
    plan: &FlowPlan,
    about: About,
    candidates: &[Candidate],
    secret: &[u8; 192],
) -> Result<Traced, TraceError> {
    let topics: Vec<&str> = plan.flow.topics().collect();
    let hashers: Vec<IdentityHasher> = topics.iter().map(|topic| IdentityHasher::new(secret, topic)).collect();
    let ids = transactions(candidates, &topics, &hashers);
    let all: BTreeSet<Hash> = ids.iter().flat_map(|id| hashers.iter().map(|hasher| Hash(hasher.turn(id.0)))).collect();
    let mut found = found(holder, all.into_iter().collect())?;
    for found in &mut found {
        let own = |arrival: &Arrival| {
            let at = topics.iter().position(|topic| **topic == *arrival.topic);
            at.is_some_and(|at| ids.contains(&Hash(hashers[at].turn(found.identity.0))))
        };
        found.arrivals.retain(own);
    }
    let Answer::Followed { transactions } = holder.ask(&Question::Follow { transactions: ids })? else {
        return Err(mixed_up());
    };
    let way = |transaction: &Transaction| {
        let own = |found: &Found, arrival: &Arrival| {
            let at = topics.iter().position(|topic| **topic == *arrival.topic);
            at.is_some_and(|at| hashers[at].turn(transaction.id.0) == found.identity.0)
        };
        let of = |found: &Found| found.arrivals.iter().filter(|a| own(found, a)).cloned().collect::<Vec<_>>();
        let arrivals: Vec<Arrival> = found.iter().flat_map(of).collect();
        Way::of(plan, &about.coverage, transaction, &arrivals)
    };
    let ways = transactions.iter().map(way).collect();
    Ok(Traced { found, ways, about })
}

/// The transactions that are meant. A hash may be that of the transaction, as findings about flows show it, or that of its
/// record in any of the topics.
fn transactions(candidates: &[Candidate], topics: &[&str], hashers: &[IdentityHasher]) -> Vec<Hash> {
    let mut ids: BTreeSet<Hash> = BTreeSet::new();
    for candidate in candidates {
        if candidate.topic.is_none() {
            ids.insert(Hash(candidate.identity));
        }
        let of_topic = topics
            .iter()
            .zip(hashers)
            .filter(|(topic, _)| candidate.topic.as_deref().is_none_or(|known| known == **topic));
        ids.extend(of_topic.map(|(_, hasher)| Hash(hasher.turn(candidate.identity))));
    }
    ids.into_iter().collect()
}

impl Traced {
    pub fn is_found(&self) -> bool {
        self.found.iter().any(|found| !found.arrivals.is_empty()) || self.known_ways().next().is_some()
    }

    /// Ways of which something is known.
    pub fn known_ways(&self) -> impl Iterator<Item = &Way> {
        self.ways.iter().filter(|way| way.is_known)
    }

    pub fn damage(&self) -> impl Iterator<Item = &String> {
        self.found.iter().flat_map(|found| &found.damage)
    }

    /// Every arrival in the order of time, each with what is known of its identity.
    pub fn arrivals<'a>(&'a self) -> Vec<(&'a Found, &'a Arrival)> {
        let of = |found: &'a Found| found.arrivals.iter().map(move |arrival| (found, arrival));
        let mut all: Vec<(&Found, &Arrival)> = self.found.iter().flat_map(of).collect();
        all.sort_by(|(_, a), (_, b)| {
            (a.second, &a.topic, a.partition, a.offset).cmp(&(b.second, &b.topic, b.partition, b.offset))
        });
        all
    }

    pub fn stage_of(&self, topic: &str) -> Option<&str> {
        self.ways.iter().find_map(|way| way.stage_of(topic))
    }

    /// By topic, where nothing was found and how far that says something.
    pub fn never_seen(&self, topic: Option<&str>) -> Vec<String> {
        let topics: BTreeSet<&str> = self.about.coverage.iter().map(|covered| covered.topic.as_str()).collect();
        let asked = topics.into_iter().filter(|known| topic.is_none_or(|topic| topic == *known));
        let plan = self.about.flow.as_ref();
        let since = plan.and_then(|plan| kept_since(&self.about.coverage, plan.horizon_ms));
        let said = asked.map(|topic| {
            let mut reach = Reach::of(topic, &self.about.coverage);
            reach.gaps.extend(since.map(beyond_horizon));
            format!("never seen in {topic} {}{}", reach.words(), Reach::uncovered(&reach.gaps))
        });
        said.collect()
    }

    /// One line of JSON per arrival, then one per transaction.
    pub fn lines(&self) -> Vec<Value> {
        let sightings = self.arrivals().into_iter().map(|(found, arrival)| self.line(found, arrival));
        sightings.chain(self.known_ways().map(Way::line)).collect()
    }

    pub fn line(&self, found: &Found, arrival: &Arrival) -> Value {
        let mut line = json!({
            "type": "sighting",
            "identity": {"hash": found.identity},
            "topic": arrival.topic,
            "partition": arrival.partition,
            "offset": arrival.offset,
            "timestamp": i64::from(arrival.second) * 1000,
            "checksum": format!("{:016x}", arrival.checksum.0 as u64),
            "state": arrival.state,
            "arrivals": found.counted,
        });
        if let Some((id, epoch)) = arrival.producer {
            line["producer"] = json!({"id": id, "epoch": epoch});
        }
        if let Some(stage) = self.stage_of(&arrival.topic) {
            line["stage"] = stage.into();
        }
        if !found.findings.is_empty() {
            let brief =
                |f: &Finding| json!({"id": f.id, "kind": f.kind, "grade": f.grade, "state": f.state, "why": f.why});
            line["findings"] = found.findings.iter().map(brief).collect();
        }
        line
    }
}
