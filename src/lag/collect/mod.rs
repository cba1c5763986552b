//! Asks a cluster how far its consumer groups are, one round at a time: groups and their commits first, ends of the logs
//! after them. A broken group, topic or broker blanks nothing else; only a cluster without any answer is an error.
//!
//! Blocking, with one thread per broker while a round lasts. It judges nothing.

mod brokers;
mod ends;
mod groups;
mod names;
mod share;
mod space;
mod unread;

use std::collections::HashMap;
use std::sync::Arc;

use kafka_protocol::messages::metadata_response::MetadataResponse;
use regex::Regex;
use uuid::Uuid;

use super::commits;
use super::facts::{Facts, PartitionFacts, Spot};
use super::figure::Unknown;
use crate::engine::Clock;
use crate::source::kafka::{Config, ErrorCode};
use crate::source::{Properties, SourceError};
use brokers::Brokers;
use ends::Led;
use names::Names;
pub use unread::{Found, Next, Place};

/// Which groups and topics are of interest. A pattern is a regular expression that must fit the whole name.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub groups: Vec<Regex>,
    pub exclude_groups: Vec<Regex>,
    pub topics: Vec<Regex>,
    pub exclude_topics: Vec<Regex>,
}

impl Filter {
    /// A pattern that has to fit the whole name.
    pub fn pattern(text: &str) -> Result<Regex, regex::Error> {
        Regex::new(&format!("^(?:{text})$"))
    }

    fn takes(name: &str, wanted: &[Regex], unwanted: &[Regex]) -> bool {
        (wanted.is_empty() || wanted.iter().any(|p| p.is_match(name))) && !unwanted.iter().any(|p| p.is_match(name))
    }

    pub fn takes_group(&self, name: &str) -> bool {
        Self::takes(name, &self.groups, &self.exclude_groups)
    }

    pub fn takes_topic(&self, name: &str) -> bool {
        Self::takes(name, &self.topics, &self.exclude_topics)
    }
}

struct Topic {
    id: Option<Uuid>,
    /// Leader of each partition.
    leaders: HashMap<i32, i32>,
    error: Option<ErrorCode>,
}

impl Topic {
    fn leaderless(&self) -> usize {
        self.leaders.values().filter(|leader| **leader < 0).count()
    }
}

pub struct Collector {
    brokers: Brokers,
    names: Names,
    filter: Filter,
    topics: HashMap<Arc<str>, Topic>,
    cluster_id: String,
    /// Rounds so far, and when the room of the logs was asked for.
    rounds: u64,
    space_at_ms: i64,
}

/// The room of the logs is asked for so often. Never in the first round: a forecast needs a past.
const SPACE_EVERY_MS: i64 = 60_000;

impl Collector {
    pub fn connect(properties: &Properties, filter: Filter) -> Result<Self, SourceError> {
        let brokers = Brokers::new(Config::resolve(properties)?);
        let (names, topics, cluster_id) = (Names::default(), HashMap::new(), String::new());
        let mut collector = Self { brokers, names, filter, topics, cluster_id, rounds: 0, space_at_ms: 0 };
        collector.refresh()?;
        Ok(collector)
    }

    /// The cluster's own id.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    fn refresh(&mut self) -> Result<(), SourceError> {
        let answer: MetadataResponse = self.brokers.metadata()?;
        self.cluster_id = answer.cluster_id.as_ref().map(|id| id.to_string()).unwrap_or_default();
        self.topics.clear();
        for topic in answer.topics {
            let Some(name) = topic.name else { continue };
            let leaders = topic.partitions.iter().map(|p| (p.partition_index, p.leader_id.0)).collect();
            let id = (!topic.topic_id.is_nil()).then_some(topic.topic_id);
            let error = ErrorCode::from_code(topic.error_code);
            self.topics.insert(self.names.get(&name.0), Topic { id, leaders, error });
        }
        self.names.tidy();
        Ok(())
    }

    /// One round.
    pub fn collect(&mut self, clock: &Clock) -> Result<Facts, SourceError> {
        let before = self.brokers.requests();
        self.refresh()?;
        let mut facts = Facts { commits_at_ms: clock(), ..Facts::default() };
        let (filter, names) = (&self.filter, &self.names);
        let wanted = |name: &str| filter.takes_group(name);
        for coordinated in self.brokers.each(|broker| groups::ask(broker, names, &wanted)) {
            match coordinated.groups {
                // While a group moves to another broker both may list it: the one that knows its offsets is right.
                Ok(groups) => {
                    for (name, group) in groups {
                        let known = facts.groups.get(&name).is_some_and(|known| known.offsets.is_ok());
                        if !known {
                            facts.groups.insert(name, group);
                        }
                    }
                }
                Err(error) => {
                    facts.unlisted_brokers += 1;
                    facts.troubles.push(format!("the groups of broker {}: {error}", coordinated.broker));
                }
            }
        }
        // The leaders of this topic coordinate the groups. Groups whose coordinator is gone for good, with nobody to take over, are listed by no broker.
        let leaderless = self.topics.get(commits::TOPIC).map_or(0, Topic::leaderless);
        if leaderless > 0 {
            facts.unlisted_brokers += 1;
            facts.troubles.push(format!(
                "{leaderless} partitions of {} have no leader: groups that belong to them are not known",
                commits::TOPIC
            ));
        }
        for group in facts.groups.values_mut() {
            if let Ok(offsets) = &mut group.offsets {
                offsets.retain(|(topic, _), _| self.filter.takes_topic(topic));
            }
            for member in group.members.iter_mut().flatten() {
                member.assigned.retain(|(topic, _)| self.filter.takes_topic(topic));
            }
        }
        facts.ends_at_ms = clock();
        self.ends(&mut facts);
        self.rounds += 1;
        if self.rounds > 1 && facts.ends_at_ms.saturating_sub(self.space_at_ms) >= SPACE_EVERY_MS {
            self.space_at_ms = facts.ends_at_ms;
            let is_wanted = |name: &&Arc<str>| !name.starts_with("__") && self.filter.takes_topic(name);
            let topics: Vec<Arc<str>> = self.topics.keys().filter(is_wanted).cloned().collect();
            facts.space = Some(space::ask(&mut self.brokers, &topics, &self.names));
        }
        facts.requests = self.brokers.requests() - before;
        Ok(facts)
    }

    /// Marks of every partition somebody committed to, and of every other topic that is of interest.
    fn ends(&mut self, facts: &mut Facts) {
        let committed = facts.groups.values().filter_map(|group| group.offsets.as_ref().ok()).flat_map(|o| o.keys());
        let mut spots: HashMap<Spot, PartitionFacts> = HashMap::new();
        for spot in committed {
            spots.entry(spot.clone()).or_insert(PartitionFacts::unknown(Unknown::NoSuchTopic));
        }
        for (name, topic) in &self.topics {
            if !name.starts_with("__") && self.filter.takes_topic(name) {
                for &partition in topic.leaders.keys() {
                    spots.entry((name.clone(), partition)).or_insert(PartitionFacts::unknown(Unknown::NoLeader));
                }
            }
        }
        let mut led: HashMap<i32, Led> = HashMap::new();
        for ((name, partition), marks) in &mut spots {
            let Some(topic) = self.topics.get(name) else { continue };
            let why = topic.error.map_or(Unknown::NoLeader, unknown);
            match topic.leaders.get(partition) {
                Some(leader) if *leader >= 0 => {
                    led.entry(*leader).or_default().entry(name.clone()).or_default().push(*partition);
                    *marks = PartitionFacts::unknown(Unknown::Unreachable);
                }
                Some(_) => *marks = PartitionFacts::unknown(why),
                None => *marks = PartitionFacts::unknown(Unknown::NoSuchTopic),
            }
        }
        let (led, names) = (&led, &self.names);
        let asked = self.brokers.each(|broker| led.get(&broker.id).map(|led| ends::ask(broker, led, names)));
        for found in asked.into_iter().flatten() {
            spots.extend(found);
        }
        for ((name, _), marks) in &mut spots {
            marks.topic_id = self.topics.get(name).and_then(|topic| topic.id);
        }
        facts.partitions = spots;
    }

    /// The next unread record at each place, and the requests it took.
    pub fn unread(&mut self, places: &[Place]) -> (Found, u64) {
        let before = self.brokers.requests();
        let mut by_leader: HashMap<i32, Vec<&Place>> = HashMap::new();
        let mut found = Found::new();
        for place in places {
            let topic = self.topics.get(&place.spot.0);
            match topic.and_then(|topic| topic.leaders.get(&place.spot.1)) {
                Some(&leader) if leader >= 0 => by_leader.entry(leader).or_default().push(place),
                _ => _ = found.insert(place.clone(), Err(Unknown::NoLeader)),
            }
        }
        let (by_leader, names) = (&by_leader, &self.names);
        let asked = self.brokers.each(|broker| by_leader.get(&broker.id).map(|some| unread::ask(broker, some, names)));
        asked.into_iter().flatten().for_each(|some| found.extend(some));
        (found, self.brokers.requests() - before)
    }
}

/// Kafka's errors as reasons.
fn unknown(error: ErrorCode) -> Unknown {
    match error.0 {
        // UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID
        3 | 100 => Unknown::NoSuchTopic,
        // LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER
        5 | 6 => Unknown::NoLeader,
        // TOPIC, GROUP and CLUSTER_AUTHORIZATION_FAILED
        29..=31 => Unknown::Denied,
        // UNSUPPORTED_VERSION
        35 => Unknown::TooOld,
        // COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR
        14..=16 => Unknown::Unreachable,
        code => Unknown::Broker(code),
    }
}
