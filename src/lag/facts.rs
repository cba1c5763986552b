//! What one round of asking the cluster brought.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::figure::{Figure, Unknown};

/// A partition by its topic's name.
pub type Spot = (Arc<str>, i32);

/// Which protocol a group's members speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupKind {
    Classic,
    /// KIP-848.
    Consumer,
    /// KIP-932: members share the records of a partition.
    Share,
}

impl GroupKind {
    pub fn name(self) -> &'static str {
        match self {
            GroupKind::Classic => "classic",
            GroupKind::Consumer => "consumer",
            GroupKind::Share => "share",
        }
    }
}

/// The states of all three protocols under Kafka's own names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GroupState {
    Empty,
    Stable,
    PreparingRebalance,
    CompletingRebalance,
    Assigning,
    Reconciling,
    Dead,
}

impl GroupState {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "Empty" => Self::Empty,
            "Stable" => Self::Stable,
            "PreparingRebalance" => Self::PreparingRebalance,
            "CompletingRebalance" => Self::CompletingRebalance,
            "Assigning" => Self::Assigning,
            "Reconciling" => Self::Reconciling,
            "Dead" => Self::Dead,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Stable => "Stable",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Dead => "Dead",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: String,
    pub client_id: String,
    pub host: String,
    pub assigned: Vec<Spot>,
}

/// Where a group stands on a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    /// Kafka's own lag of a share group (KIP-1226), which only its coordinator can tell.
    pub share_lag: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct GroupFacts {
    pub kind: GroupKind,
    pub state: Figure<GroupState>,
    pub members: Figure<Vec<Member>>,
    pub offsets: Figure<BTreeMap<Spot, Figure<Committed>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionFacts {
    pub topic_id: Option<Uuid>,
    pub log_start: Figure,
    pub stable_end: Figure,
    pub end: Figure,
}

impl PartitionFacts {
    pub fn unknown(why: Unknown) -> Self {
        Self { topic_id: None, log_start: Err(why), stable_end: Err(why), end: Err(why) }
    }
}

/// A volume on which a broker keeps logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    pub broker: i32,
    pub path: Arc<str>,
    pub total_bytes: i64,
    pub usable_bytes: i64,
}

/// How much logs are meant to keep, and how much room they have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// `retention.ms` of the topics that delete by age.
    pub retention_ms: HashMap<Arc<str>, i64>,
    pub volumes: Vec<Volume>,
}

/// One round: commits first, end offsets after them, so that a lag is never negative in a healthy log.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// When the commits were asked for, and when the ends, milliseconds since 1970.
    pub commits_at_ms: i64,
    pub ends_at_ms: i64,
    pub groups: BTreeMap<Arc<str>, GroupFacts>,
    pub partitions: HashMap<Spot, PartitionFacts>,
    /// Brokers, known or missing, that did not say which groups they coordinate: a group that is missing may be one of
    /// theirs.
    pub unlisted_brokers: usize,
    /// Asked now and then only.
    pub space: Option<Space>,
    /// What could not be asked: who, and why.
    pub troubles: Vec<String>,
    pub requests: u64,
}
