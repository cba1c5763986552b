//! What a round knows, as samples. Unknown is no series: nothing here turns a missing figure into a number, except the
//! one sentinel that kafka_exporter has and a user asked for.

use std::collections::BTreeMap;
use std::io;

use super::Options;
use super::segments::Segment;
use super::table::{self as t, Family};
use super::text::{Samples, Value};
use crate::config::serve::Compat;
use crate::lag::figure::{Figure, Unknown};
use crate::lag::snapshot::{Forecast, GroupLag, PartitionLag, PartitionMarks, Snapshot, VolumeRoom};
use crate::lag::verdict::Verdict;

pub type Section = Vec<(&'static Family, Segment)>;

/// One value by group and by partition of a group.
type OfGroup<V> = fn(&GroupLag) -> Option<V>;
type OfPart<V> = fn(&PartitionLag) -> Option<V>;

pub fn section(snapshot: &Snapshot, options: &Options) -> io::Result<Section> {
    let mut all = Vec::new();
    if snapshot.at_ms > 0 {
        round(snapshot, &mut all);
        groups(snapshot, &mut all);
        parts(snapshot, &mut all);
        marks(snapshot, &mut all);
        forecasts(snapshot, &mut all);
        if options.has(Compat::KafkaExporter) {
            kafka_exporter(snapshot, options.sentinels, &mut all);
        }
        if options.has(Compat::LagExporter) {
            lag_exporter(snapshot, &mut all);
        }
    }
    all.into_iter().filter_map(|samples: io::Result<_>| samples.transpose()).collect()
}

type All = Vec<io::Result<Option<(&'static Family, Segment)>>>;

fn family(all: &mut All, family: &'static Family, fill: impl FnOnce(&mut Samples)) {
    let mut samples = Samples::of(family);
    fill(&mut samples);
    all.push(samples.finish());
}

fn round(snapshot: &Snapshot, all: &mut All) {
    let round = &snapshot.round;
    let mut one = |f, value: Value| family(all, f, |s| s.add([], value));
    one(&t::ROUNDS, round.number.into());
    one(&t::ROUND_SECONDS, round.seconds.into());
    one(&t::ROUND_REQUESTS, round.requests.into());
    one(&t::ROUND_END, seconds(snapshot.at_ms).into());
    one(&t::ROUND_EVALUATED, round.evaluated.into());
    one(&t::ROUND_EXPECTED, round.expected.into());
    one(&t::ROUND_TROUBLES, snapshot.troubles.len().into());
    if !snapshot.cluster.is_empty() {
        family(all, &t::CLUSTER_INFO, |s| s.add([snapshot.cluster.as_str().into()], 1i64));
    }
}

fn groups(snapshot: &Snapshot, all: &mut All) {
    family(all, &t::GROUP_VERDICT, |s| {
        for group in &snapshot.groups {
            s.add([(&*group.group).into(), group.judgement.verdict.name().into()], 1i64);
        }
    });
    family(all, &t::GROUP_INFO, |s| {
        for group in &snapshot.groups {
            // An empty label is no label: the state is left out while it is unknown.
            let state = group.state.map_or("", |state| state.name());
            s.add([(&*group.group).into(), group.kind.name().into(), state.into()], 1i64);
        }
    });
    let figures: [(&'static Family, OfGroup<Value>); 8] = [
        (&t::GROUP_MEMBERS, |g| known(g.members)),
        (&t::GROUP_LAG, |g| known(g.lag)),
        (&t::GROUP_LAG_RECORDS, |g| known(g.record_lag)),
        (&t::GROUP_LAG_MAX, |g| known(g.max_lag)),
        (&t::GROUP_LAG_SECONDS, |g| known(g.max_time_ms.map(seconds))),
        (&t::GROUP_EVALUATED, |g| Some(g.evaluated.into())),
        (&t::GROUP_EXPECTED, |g| Some(g.expected.into())),
        (&t::GROUP_LOST, |g| Some(g.partitions.iter().map(|p| p.lost_total).sum::<i64>().into())),
    ];
    for (f, figure) in figures {
        family(all, f, |s| {
            for group in &snapshot.groups {
                if let Some(value) = figure(group) {
                    s.add([(&*group.group).into()], value);
                }
            }
        });
    }
}

fn parts(snapshot: &Snapshot, all: &mut All) {
    family(all, &t::PARTITION_VERDICT, |s| {
        for (group, part) in each(snapshot) {
            let verdict = part.judgement.verdict;
            if verdict != Verdict::Ok {
                let (topic, partition) = (&*part.topic, part.partition);
                s.add([(&*group.group).into(), topic.into(), partition.into(), verdict.name().into()], 1i64);
            }
        }
    });
    let figures: [(&'static Family, OfPart<Value>); 7] = [
        (&t::PARTITION_COMMITTED, |p| known(p.committed)),
        (&t::PARTITION_LAG, |p| known(p.lag)),
        (&t::PARTITION_LAG_RECORDS, |p| known(p.record_lag)),
        (&t::PARTITION_LAG_SECONDS, |p| known(p.time.map(|time| seconds(time.ms)))),
        (&t::PARTITION_LAG_LEAST, |p| bound(p, |time| time.at_least_ms)),
        (&t::PARTITION_LAG_MOST, |p| bound(p, |time| time.at_most_ms)),
        (&t::PARTITION_LOST, |p| (p.lost_total > 0).then(|| p.lost_total.into())),
    ];
    for (f, figure) in figures {
        family(all, f, |s| {
            for (group, part) in each(snapshot) {
                if let Some(value) = figure(part) {
                    s.add([(&*group.group).into(), (&*part.topic).into(), part.partition.into()], value);
                }
            }
        });
    }
    family(all, &t::PARTITION_OWNER, |s| {
        for (group, part) in each(snapshot) {
            if let Some((client, host)) = &part.owner {
                let (client, host) = ((&**client).into(), (&**host).into());
                s.add([(&*group.group).into(), (&*part.topic).into(), part.partition.into(), client, host], 1i64);
            }
        }
    });
}

fn bound(part: &PartitionLag, of: fn(&crate::lag::snapshot::TimeLag) -> i64) -> Option<Value> {
    let time = part.time.ok()?;
    (time.at_least_ms != time.at_most_ms).then(|| seconds(of(&time)).into())
}

fn marks(snapshot: &Snapshot, all: &mut All) {
    for (f, figure) in [
        (&t::LOG_START, (|p| p.log_start) as fn(&PartitionMarks) -> Figure),
        (&t::LOG_STABLE, |p| p.stable_end),
        (&t::LOG_END, |p| p.end),
        (&t::LOG_HANGING, |p| p.hanging.as_ref().map(|_| 1).ok_or(Unknown::NotApplicable)),
    ] {
        family(all, f, |s| {
            for part in &snapshot.partitions {
                if let Ok(value) = figure(part) {
                    s.add([(&*part.topic).into(), part.partition.into()], value);
                }
            }
        });
    }
}

fn forecasts(snapshot: &Snapshot, all: &mut All) {
    let at = |forecast: &Forecast| forecast.at_ms.map(seconds);
    family(all, &t::GROUP_FORECAST, |s| {
        for (group, forecast) in
            snapshot.groups.iter().flat_map(|group| group.forecasts.iter().map(move |f| (group, f)))
        {
            if let Some(at) = at(forecast) {
                s.add([(&*group.group).into(), (&*forecast.what).into()], at);
            }
        }
    });
    family(all, &t::LOG_FORECAST, |s| {
        for part in &snapshot.partitions {
            if let Some((forecast, at)) = part.forecast.as_ref().and_then(|f| Some((f, at(f)?))) {
                s.add([(&*part.topic).into(), part.partition.into(), (&*forecast.what).into()], at);
            }
        }
    });
    for (f, figure) in [
        (&t::VOLUME_SIZE, (|volume| volume.total_bytes) as fn(&VolumeRoom) -> i64),
        (&t::VOLUME_USABLE, |volume| volume.usable_bytes),
    ] {
        family(all, f, |s| {
            for volume in &snapshot.volumes {
                s.add([volume.broker.into(), (&*volume.path).into()], figure(volume));
            }
        });
    }
    family(all, &t::VOLUME_FORECAST, |s| {
        for volume in &snapshot.volumes {
            if let Some((forecast, at)) = volume.forecast.as_ref().and_then(|f| Some((f, at(f)?))) {
                s.add([volume.broker.into(), (&*volume.path).into(), (&*forecast.what).into()], at);
            }
        }
    });
}

fn kafka_exporter(snapshot: &Snapshot, sentinels: bool, all: &mut All) {
    for (f, figure) in [(&t::E_LAG, (|p| p.lag) as fn(&PartitionLag) -> Figure), (&t::E_OFFSET, |p| p.committed)] {
        family(all, f, |s| {
            for (group, part) in each(snapshot) {
                let value = match figure(part) {
                    Ok(value) => value,
                    Err(Unknown::NeverCommitted) if sentinels => -1,
                    Err(_) => continue,
                };
                s.add([(&*group.group).into(), (&*part.topic).into(), part.partition.into()], value);
            }
        });
    }
    for (f, figure) in
        [(&t::E_LAG_SUM, (|p| p.lag) as fn(&PartitionLag) -> Figure), (&t::E_OFFSET_SUM, |p| p.committed)]
    {
        family(all, f, |s| {
            for (group, topic, sum) in topic_sums(snapshot, figure) {
                s.add([group.into(), topic.into()], sum);
            }
        });
    }
    family(all, &t::E_MEMBERS, |s| {
        for group in &snapshot.groups {
            if let Ok(members) = group.members {
                s.add([(&*group.group).into()], members);
            }
        }
    });
    family(all, &t::E_PARTITIONS, |s| {
        let mut topics: BTreeMap<&str, u64> = BTreeMap::new();
        for part in &snapshot.partitions {
            *topics.entry(&*part.topic).or_default() += 1;
        }
        for (topic, partitions) in topics {
            s.add([topic.into()], partitions);
        }
    });
    for (f, figure) in [(&t::E_END, (|p| p.end) as fn(&PartitionMarks) -> Figure), (&t::E_START, |p| p.log_start)] {
        family(all, f, |s| {
            for part in &snapshot.partitions {
                if let Ok(value) = figure(part) {
                    s.add([(&*part.topic).into(), part.partition.into()], value);
                }
            }
        });
    }
}

fn lag_exporter(snapshot: &Snapshot, all: &mut All) {
    let cluster = snapshot.cluster.as_str();
    let figures: [(&'static Family, OfPart<Value>); 3] = [
        (&t::L_LAG, |p| known(p.lag)),
        (&t::L_LAG_SECONDS, |p| known(p.time.map(|time| seconds(time.ms)))),
        (&t::L_OFFSET, |p| known(p.committed)),
    ];
    for (f, figure) in figures {
        family(all, f, |s| {
            for (group, part) in each(snapshot) {
                if let Some(value) = figure(part) {
                    let labels = [cluster.into(), (&*group.group).into(), (&*part.topic).into(), part.partition.into()];
                    s.add(labels, value);
                }
            }
        });
    }
    let figures: [(&'static Family, OfGroup<Value>); 3] = [
        (&t::L_MAX_LAG, |g| known(g.max_lag)),
        (&t::L_MAX_SECONDS, |g| known(g.max_time_ms.map(seconds))),
        (&t::L_SUM_LAG, |g| known(g.lag)),
    ];
    for (f, figure) in figures {
        family(all, f, |s| {
            for group in &snapshot.groups {
                if let Some(value) = figure(group) {
                    s.add([cluster.into(), (&*group.group).into()], value);
                }
            }
        });
    }
    family(all, &t::L_TOPIC_SUM, |s| {
        for (group, topic, sum) in topic_sums(snapshot, |p| p.lag) {
            s.add([cluster.into(), group.into(), topic.into()], sum);
        }
    });
    for (f, figure) in [(&t::L_END, (|p| p.end) as fn(&PartitionMarks) -> Figure), (&t::L_START, |p| p.log_start)] {
        family(all, f, |s| {
            for part in &snapshot.partitions {
                if let Ok(value) = figure(part) {
                    s.add([cluster.into(), (&*part.topic).into(), part.partition.into()], value);
                }
            }
        });
    }
}

/// Sums over the partitions where the figure is known; a topic without any has none.
fn topic_sums(snapshot: &Snapshot, figure: fn(&PartitionLag) -> Figure) -> impl Iterator<Item = (&str, &str, i64)> {
    snapshot.groups.iter().flat_map(move |group| {
        let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
        for part in &group.partitions {
            if let Ok(value) = figure(part) {
                *sums.entry(&*part.topic).or_default() += value;
            }
        }
        sums.into_iter().map(|(topic, sum)| (&*group.group, topic, sum))
    })
}

fn each(snapshot: &Snapshot) -> impl Iterator<Item = (&GroupLag, &PartitionLag)> {
    snapshot.groups.iter().flat_map(|group| group.partitions.iter().map(move |part| (group, part)))
}

fn known<V: Into<Value>>(figure: Figure<V>) -> Option<Value> {
    figure.ok().map(Into::into)
}

pub fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
