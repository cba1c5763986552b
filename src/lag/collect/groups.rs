//! Which groups a broker coordinates, who is in them and where they stand. A broker knows the groups it coordinates and
//! no others, so each is asked about its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Buf;
use kafka_protocol::messages::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerProtocolAssignment, DescribeGroupsRequest, DescribeShareGroupOffsetsRequest,
    GroupId, ListGroupsRequest, OffsetFetchRequest, ShareGroupDescribeRequest,
};
use kafka_protocol::protocol::{Decodable, StrBytes};

use super::brokers::Broker;
use super::names::Names;
use super::share::{self, ShareOffsetsRequest};
use super::unknown;
use crate::lag::facts::{Committed, GroupFacts, GroupKind, GroupState, Member, Spot};
use crate::lag::figure::{Figure, Unknown};
use crate::source::SourceError;
use crate::source::kafka::ErrorCode;

/// Newest versions whose meaning is known here.
const LIST_GROUPS: i16 = 5;
const DESCRIBE_GROUPS: i16 = 6;
const CONSUMER_GROUP_DESCRIBE: i16 = 1;
const SHARE_GROUP_DESCRIBE: i16 = 1;
const OFFSET_FETCH: i16 = 9;
const SHARE_OFFSETS: i16 = 1;
/// First version that takes several groups at once.
const MANY_GROUPS: i16 = 8;
/// Groups in one request: an answer stays at a few megabytes.
const BATCH: usize = 400;

/// A broker's groups, or why it could not be asked.
pub struct Coordinated {
    pub broker: i32,
    pub groups: Result<BTreeMap<Arc<str>, GroupFacts>, SourceError>,
}

pub fn ask(broker: &mut Broker, names: &Names, wanted: &(dyn Fn(&str) -> bool + Sync)) -> Coordinated {
    let groups = list(broker, wanted).map(|mut groups| {
        describe_classic(broker, names, &mut groups);
        describe_consumer(broker, names, &mut groups);
        describe_share(broker, names, &mut groups);
        fetch_offsets(broker, names, &mut groups);
        fetch_share_offsets(broker, names, &mut groups);
        groups
    });
    Coordinated { broker: broker.id, groups }
}

type Groups = BTreeMap<Arc<str>, GroupFacts>;

fn list(broker: &mut Broker, wanted: &(dyn Fn(&str) -> bool + Sync)) -> Result<Groups, SourceError> {
    let answer = broker.call(&ListGroupsRequest::default(), LIST_GROUPS)?;
    if let Some(error) = ErrorCode::from_code(answer.error_code) {
        let what = format!("listing the groups of broker {}", broker.id);
        return Err(SourceError::Protocol { what, why: error.advice() });
    }
    let mut groups = Groups::new();
    for listed in answer.groups {
        let kind = match (listed.group_type.to_ascii_lowercase().as_str(), listed.protocol_type.as_str()) {
            // Connect workers and schema registries are groups as well, and commit nothing.
            ("classic" | "", "consumer" | "") => GroupKind::Classic,
            ("consumer", _) => GroupKind::Consumer,
            ("share", _) => GroupKind::Share,
            _ => continue,
        };
        if wanted(&listed.group_id.0) {
            let facts = GroupFacts {
                kind,
                state: GroupState::parse(&listed.group_state).ok_or(Unknown::TooOld),
                members: Err(Unknown::NotYet),
                offsets: Err(Unknown::NotYet),
            };
            groups.insert(Arc::from(listed.group_id.0.as_str()), facts);
        }
    }
    Ok(groups)
}

fn of_kind(groups: &Groups, kind: impl Fn(GroupKind) -> bool) -> Vec<Arc<str>> {
    groups.iter().filter(|(_, facts)| kind(facts.kind)).map(|(name, _)| name.clone()).collect()
}

fn id(name: &Arc<str>) -> GroupId {
    GroupId(StrBytes::from_string(name.to_string()))
}

/// What one group's description says; an error of the whole request goes to all its groups.
type Described = (StrBytes, i16, StrBytes, Vec<Member>);

fn describe(groups: &mut Groups, asked: &[Arc<str>], answer: Result<Vec<Described>, SourceError>) {
    match answer {
        Ok(described) => {
            for (name, code, state, members) in described {
                let Some(facts) = groups.get_mut(&*name) else { continue };
                match ErrorCode::from_code(code) {
                    None => {
                        facts.state = GroupState::parse(&state).ok_or(Unknown::TooOld);
                        facts.members = Ok(members);
                    }
                    Some(error) => facts.members = Err(unknown(error)),
                }
            }
        }
        Err(error) => {
            tracing::info!(%error, "groups could not be described");
            for name in asked {
                groups.entry(name.clone()).and_modify(|facts| facts.members = Err(reason(&error)));
            }
        }
    }
}

/// Why a whole request failed.
fn reason(error: &SourceError) -> Unknown {
    match error {
        SourceError::Protocol { .. } => Unknown::TooOld,
        _ => Unknown::Unreachable,
    }
}

fn describe_classic(broker: &mut Broker, names: &Names, groups: &mut Groups) {
    for asked in of_kind(groups, |kind| kind == GroupKind::Classic).chunks(BATCH) {
        let request = DescribeGroupsRequest::default().with_groups(asked.iter().map(id).collect());
        let answer = broker.call(&request, DESCRIBE_GROUPS).map(|answer| {
            let group = |group: kafka_protocol::messages::describe_groups_response::DescribedGroup| {
                let members = group.members.into_iter().map(|member| Member {
                    id: member.member_id.to_string(),
                    client_id: member.client_id.to_string(),
                    host: member.client_host.to_string(),
                    assigned: classic_assignment(member.member_assignment, names),
                });
                (group.group_id.0, group.error_code, group.group_state, members.collect())
            };
            answer.groups.into_iter().map(group).collect()
        });
        describe(groups, asked, answer);
    }
}

/// What a member's own assignor wrote; a form that is not known is no assignment.
fn classic_assignment(mut bytes: bytes::Bytes, names: &Names) -> Vec<Spot> {
    if bytes.remaining() < 2 {
        return Vec::new();
    }
    let version = bytes.get_i16().clamp(0, 3);
    let Ok(assignment) = ConsumerProtocolAssignment::decode(&mut bytes, version) else { return Vec::new() };
    let spots = assignment.assigned_partitions.into_iter().flat_map(|topic| {
        let name = names.get(&topic.topic.0);
        topic.partitions.into_iter().map(move |partition| (name.clone(), partition))
    });
    spots.collect()
}

macro_rules! new_members {
    ($members:expr, $names:expr) => {
        $members.into_iter().map(|member| Member {
            id: member.member_id.to_string(),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            assigned: {
                let topics = member.assignment.topic_partitions.into_iter();
                let spots = topics.flat_map(|topic| {
                    let name = $names.get(&topic.topic_name.0);
                    topic.partitions.into_iter().map(move |partition| (name.clone(), partition))
                });
                spots.collect()
            },
        })
    };
}

fn describe_consumer(broker: &mut Broker, names: &Names, groups: &mut Groups) {
    for asked in of_kind(groups, |kind| kind == GroupKind::Consumer).chunks(BATCH) {
        let request = ConsumerGroupDescribeRequest::default().with_group_ids(asked.iter().map(id).collect());
        let answer = broker.call(&request, CONSUMER_GROUP_DESCRIBE).map(|answer| {
            let groups = answer.groups.into_iter().map(|group| {
                let members = new_members!(group.members, names).collect();
                (group.group_id.0, group.error_code, group.group_state, members)
            });
            groups.collect()
        });
        describe(groups, asked, answer);
    }
}

fn describe_share(broker: &mut Broker, names: &Names, groups: &mut Groups) {
    for asked in of_kind(groups, |kind| kind == GroupKind::Share).chunks(BATCH) {
        let request = ShareGroupDescribeRequest::default().with_group_ids(asked.iter().map(id).collect());
        let answer = broker.call(&request, SHARE_GROUP_DESCRIBE).map(|answer| {
            let groups = answer.groups.into_iter().map(|group| {
                let members = new_members!(group.members, names).collect();
                (group.group_id.0, group.error_code, group.group_state, members)
            });
            groups.collect()
        });
        describe(groups, asked, answer);
    }
}

/// (topic, partition, offset, error) of an answer, whichever of three types it has.
macro_rules! rows {
    ($topics:expr, $name:ident, $offset:ident) => {
        $topics.into_iter().flat_map(|topic| {
            let name = topic.$name.0;
            topic.partitions.into_iter().map(move |p| (name.clone(), p.partition_index, p.$offset, p.error_code))
        })
    };
}

fn fetch_offsets(broker: &mut Broker, names: &Names, groups: &mut Groups) {
    let asked = of_kind(groups, |kind| kind != GroupKind::Share);
    let many = broker.version::<OffsetFetchRequest>(OFFSET_FETCH).is_some_and(|version| version >= MANY_GROUPS);
    for asked in asked.chunks(if many { BATCH } else { 1 }) {
        let request = if many {
            let group = |name: &Arc<str>| OffsetFetchRequestGroup::default().with_group_id(id(name)).with_topics(None);
            OffsetFetchRequest::default().with_groups(asked.iter().map(group).collect())
        } else {
            OffsetFetchRequest::default().with_group_id(id(&asked[0])).with_topics(None)
        };
        let answer = match broker.call(&request, OFFSET_FETCH) {
            Ok(answer) => answer,
            Err(error) => {
                tracing::info!(%error, "committed offsets could not be read");
                no_offsets(groups, asked, reason(&error));
                continue;
            }
        };
        if many {
            for group in answer.groups {
                let found = standing(group.error_code, names, rows!(group.topics, name, committed_offset));
                groups.entry(names.get(&group.group_id.0)).and_modify(|facts| facts.offsets = found);
            }
        } else {
            let found = standing(answer.error_code, names, rows!(answer.topics, name, committed_offset));
            groups.entry(asked[0].clone()).and_modify(|facts| facts.offsets = found);
        }
    }
}

fn no_offsets(groups: &mut Groups, asked: &[Arc<str>], why: Unknown) {
    for name in asked {
        groups.entry(name.clone()).and_modify(|facts| facts.offsets = Err(why));
    }
}

fn standing(
    code: i16,
    names: &Names,
    rows: impl Iterator<Item = (StrBytes, i32, i64, i16)>,
) -> Figure<BTreeMap<Spot, Figure<Committed>>> {
    if let Some(error) = ErrorCode::from_code(code) {
        return Err(unknown(error));
    }
    let spot = |(topic, partition, offset, code): (StrBytes, i32, i64, i16)| {
        let committed = match ErrorCode::from_code(code) {
            Some(error) => Err(unknown(error)),
            None if offset < 0 => Err(Unknown::NeverCommitted),
            None => Ok(Committed { offset, share_lag: None }),
        };
        ((names.get(&topic), partition), committed)
    };
    Ok(rows.map(spot).collect())
}

fn fetch_share_offsets(broker: &mut Broker, names: &Names, groups: &mut Groups) {
    for asked in of_kind(groups, |kind| kind == GroupKind::Share).chunks(BATCH) {
        let group = |name: &Arc<str>| {
            DescribeShareGroupOffsetsRequestGroup::default().with_group_id(id(name)).with_topics(None)
        };
        let request = DescribeShareGroupOffsetsRequest::default().with_groups(asked.iter().map(group).collect());
        let answer = match broker.call(&ShareOffsetsRequest(request), SHARE_OFFSETS) {
            Ok(answer) => answer,
            Err(error) => {
                tracing::info!(%error, "the offsets of share groups could not be read");
                no_offsets(groups, asked, reason(&error));
                continue;
            }
        };
        for group in answer.groups {
            let found = share_standing(&group, names);
            groups.entry(names.get(&group.group_id)).and_modify(|facts| facts.offsets = found);
        }
    }
}

fn share_standing(group: &share::Group, names: &Names) -> Figure<BTreeMap<Spot, Figure<Committed>>> {
    if let Some(error) = ErrorCode::from_code(group.error_code) {
        return Err(unknown(error));
    }
    let spots = group.topics.iter().flat_map(|topic| {
        let name = names.get(&topic.name);
        topic.partitions.iter().map(move |partition| {
            let committed = match ErrorCode::from_code(partition.error_code) {
                Some(error) => Err(unknown(error)),
                None if partition.start_offset < 0 => Err(Unknown::NeverCommitted),
                None => Ok(Committed {
                    offset: partition.start_offset,
                    share_lag: (partition.lag >= 0).then_some(partition.lag),
                }),
            };
            ((name.clone(), partition.partition), committed)
        })
    });
    Ok(spots.collect())
}
