//! Strict readers of both formats, and what the lines must and must not say.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Write;
use std::process::{Command, Stdio};

use super::table::{self, Kind, Set};
use super::*;
use crate::lag::figure::Unknown;
use crate::serve::sample::{self, NOON};

fn options(compat: &[Compat], sentinels: bool) -> Options {
    Options { compat: compat.to_vec(), sentinels }
}

fn rendered(board: &Board, options: Options) -> [String; 2] {
    let exposition = Renderer::new(options, "1.2.3").render(board, NOON).unwrap();
    [exposition.open_metrics, exposition.plain].map(|packed| {
        let text: Vec<u8> = packed.text().flat_map(|piece| piece.unwrap()).collect();
        String::from_utf8(text).unwrap()
    })
}

fn everything() -> [String; 2] {
    rendered(&sample::board(), options(&[Compat::KafkaExporter, Compat::LagExporter], false))
}

/// A line as (name, labels in order, value).
type Sample = (String, Vec<(String, String)>, f64);

/// By the grammar, nothing more: panics on what a scraper would refuse.
fn sample_line(line: &str) -> Sample {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).expect(line);
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").expect(line);
            assert!(label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
            let mut value = String::new();
            let mut chars = after.char_indices();
            let close = loop {
                match chars.next().expect(line) {
                    (at, '"') => break at,
                    (_, '\\') => match chars.next().expect(line).1 {
                        'n' => value.push('\n'),
                        c @ ('\\' | '"') => value.push(c),
                        c => panic!("escape {c} in {line}"),
                    },
                    (_, c) => value.push(c),
                }
            };
            labels.push((label.to_owned(), value));
            rest = &after[close + 1..];
            match rest.as_bytes()[0] {
                b',' => rest = &rest[1..],
                b'}' => break rest = &rest[1..],
                _ => panic!("{line}"),
            }
        }
    }
    let value = rest.strip_prefix(' ').expect(line);
    assert!(!value.contains(' '), "{line}");
    (name.to_owned(), labels, value.parse().expect(line))
}

/// Families with their samples; checks order, types, suffixes, units and that no series is there twice.
fn open_metrics(text: &str) -> BTreeMap<String, Vec<Sample>> {
    let body = text.strip_suffix("# EOF\n").expect("ends with # EOF");
    assert!(!body.contains("# EOF"));
    let mut families: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
    let (mut current, mut kind) = (String::new(), String::new());
    let mut series = HashSet::new();
    for line in body.lines() {
        assert!(!line.is_empty());
        if let Some(head) = line.strip_prefix("# TYPE ") {
            let (name, is) = head.split_once(' ').unwrap();
            (current, kind) = (name.to_owned(), is.to_owned());
            assert!(["gauge", "counter", "info"].contains(&is), "{line}");
            assert!(families.insert(current.clone(), Vec::new()).is_none(), "{current} is in two places");
        } else if let Some(head) = line.strip_prefix("# UNIT ") {
            let (name, unit) = head.split_once(' ').unwrap();
            assert!(name == current && name.ends_with(&format!("_{unit}")), "{line}");
        } else if let Some(head) = line.strip_prefix("# HELP ") {
            assert_eq!(head.split_once(' ').unwrap().0, current);
        } else {
            let sample = sample_line(line);
            let suffix = match kind.as_str() {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            assert_eq!(sample.0, format!("{current}{suffix}"));
            assert!(sample.2.is_finite());
            assert!(kind == "gauge" || sample.2 >= 0.0, "{line}");
            assert!(series.insert(line.rsplit_once(' ').unwrap().0.to_owned()), "twice: {line}");
            families.get_mut(&current).unwrap().push(sample);
        }
    }
    assert!(families.values().all(|samples| !samples.is_empty()), "a family without a sample");
    families
}

fn family<'a>(families: &'a BTreeMap<String, Vec<Sample>>, name: &str) -> &'a [Sample] {
    families.get(name).map_or(&[], Vec::as_slice)
}

fn label<'a>(sample: &'a Sample, name: &str) -> &'a str {
    &sample.1.iter().find(|(label, _)| label == name).unwrap_or_else(|| panic!("no {name} in {sample:?}")).1
}

#[test]
fn both_formats_hold_the_same_samples() {
    let [open, plain] = everything();
    let samples = |text: &str| text.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(samples(&open), samples(&plain));
    open_metrics(&open);
}

#[test]
fn every_family_of_the_table_occurs_with_exactly_its_labels() {
    let families = open_metrics(&everything()[0]);
    for family in table::ALL {
        let samples = families.get(family.base()).unwrap_or_else(|| panic!("{} has no sample", family.name));
        for sample in samples {
            assert!(sample.1.iter().map(|(label, _)| label.as_str()).eq(family.labels.iter().copied()), "{sample:?}");
        }
    }
    assert_eq!(families.len(), table::ALL.len());
}

#[test]
fn names_follow_the_rule() {
    let mut names = BTreeSet::new();
    for family in table::ALL {
        assert!(names.insert(family.name), "{} is there twice", family.name);
        assert!(!family.help.contains('"') && !family.help.ends_with('.'), "{}", family.name);
        assert!(family.unit.is_empty() || family.base().ends_with(&format!("_{}", family.unit)), "{}", family.name);
        match family.set {
            Set::Own => {
                assert!(family.name.starts_with("sordini_"), "{}", family.name);
                assert_eq!(family.kind == Kind::Counter, family.name.ends_with("_total"), "{}", family.name);
                assert_eq!(family.kind == Kind::Info, family.name.ends_with("_info"), "{}", family.name);
                let last = family.base().rsplit('_').next().unwrap();
                if ["seconds", "bytes", "offsets", "records", "offset"].contains(&last) {
                    assert_eq!(family.unit, last, "{}", family.name);
                }
                assert!(!["ms", "milliseconds", "kb", "count"].contains(&last), "{}", family.name);
            }
            Set::Process => assert!(family.name.starts_with("process_")),
            Set::KafkaExporter | Set::LagExporter => assert!(family.name.starts_with("kafka_")),
        }
    }
}

#[test]
fn the_families_of_other_exporters_have_their_names_and_labels() {
    let group_topic_partition: &[&str] = &["consumergroup", "topic", "partition"];
    let member: &[&str] = &["cluster_name", "group", "topic", "partition"];
    let expected: [(&str, &[&str]); 17] = [
        ("kafka_consumergroup_lag", group_topic_partition),
        ("kafka_consumergroup_lag_sum", &["consumergroup", "topic"]),
        ("kafka_consumergroup_current_offset", group_topic_partition),
        ("kafka_consumergroup_current_offset_sum", &["consumergroup", "topic"]),
        ("kafka_consumergroup_members", &["consumergroup"]),
        ("kafka_topic_partitions", &["topic"]),
        ("kafka_topic_partition_current_offset", &["topic", "partition"]),
        ("kafka_topic_partition_oldest_offset", &["topic", "partition"]),
        ("kafka_consumergroup_group_lag", member),
        ("kafka_consumergroup_group_lag_seconds", member),
        ("kafka_consumergroup_group_offset", member),
        ("kafka_consumergroup_group_max_lag", &["cluster_name", "group"]),
        ("kafka_consumergroup_group_max_lag_seconds", &["cluster_name", "group"]),
        ("kafka_consumergroup_group_sum_lag", &["cluster_name", "group"]),
        ("kafka_consumergroup_group_topic_sum_lag", &["cluster_name", "group", "topic"]),
        ("kafka_partition_latest_offset", &["cluster_name", "topic", "partition"]),
        ("kafka_partition_earliest_offset", &["cluster_name", "topic", "partition"]),
    ];
    let served: Vec<(&str, &[&str])> =
        table::ALL.iter().filter(|f| f.name.starts_with("kafka_")).map(|f| (f.name, f.labels)).collect();
    assert_eq!(served, expected);
}

#[test]
fn names_are_served_only_when_asked_for() {
    let [text, _] = rendered(&sample::board(), Options::default());
    assert!(!text.contains("kafka_"));
    let [text, _] = rendered(&sample::board(), options(&[Compat::LagExporter], false));
    assert!(text.contains("kafka_consumergroup_group_lag{") && !text.contains("kafka_consumergroup_lag{"));
}

#[test]
fn what_is_unknown_has_no_series() {
    let families = open_metrics(&everything()[0]);
    for name in table::ALL.iter().filter(|f| f.name.contains("lag") || f.name.contains("offset")).map(|f| f.base()) {
        let of_group =
            |s: &Sample| s.1.iter().any(|(l, v)| (l == "group" || l == "consumergroup") && v == "never-heard");
        if !["sordini_group_lost_offsets", "sordini_group_partition_owner"].contains(&name) {
            assert!(!family(&families, name).iter().any(of_group), "{name}");
        }
    }
    assert!(!family(&families, "kafka_partition_latest_offset").iter().any(|s| label(s, "topic") == "leaderless"));
    // An audit without a report has no figure; one that nobody looked for is no zero.
    assert!(!family(&families, "sordini_audit_lost_records").iter().any(|s| label(s, "audit") == "fresh"));
    assert!(!family(&families, "sordini_audit_reordered_records").iter().any(|s| label(s, "audit") == "settled"));

    let board = sample::board();
    board.lag.store(Arc::default());
    let [before, _] = rendered(&board, options(&[Compat::KafkaExporter], true));
    assert!(!before.contains("sordini_lag_") && !before.contains("kafka_"), "before the first round nothing is known");
}

#[test]
fn the_sentinel_stands_where_kafka_exporter_has_it() {
    let [text, _] = rendered(&sample::board(), options(&[Compat::KafkaExporter, Compat::LagExporter], true));
    let families = open_metrics(&text);
    let negative: BTreeSet<&str> = families
        .iter()
        .filter(|(_, samples)| samples.iter().any(|s| s.2 < 0.0))
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(negative, BTreeSet::from(["kafka_consumergroup_lag", "kafka_consumergroup_current_offset"]));
    let of_group = |s: &&Sample| label(s, "consumergroup") == "never-heard";
    assert_eq!(family(&families, "kafka_consumergroup_lag").iter().filter(of_group).count(), 1);
    assert_eq!(family(&families, "kafka_consumergroup_lag_sum").iter().filter(of_group).count(), 0);
}

#[test]
fn values_and_hostile_names_come_back_whole() {
    let families = open_metrics(&everything()[0]);
    let verdicts = family(&families, "sordini_group_verdict");
    assert_eq!(verdicts.len(), 16);
    assert!(verdicts.iter().any(|s| label(s, "group") == sample::EVIL && label(s, "verdict") == "stop"));
    let of = |name: &str, group: &str| {
        family(&families, name).iter().filter(|s| label(s, "group") == group).map(|s| s.2).collect::<Vec<_>>()
    };
    assert_eq!(of("sordini_group_lag_offsets", "group-stop"), [12_315.0]);
    assert_eq!(of("sordini_group_lag_max_seconds", "group-stop"), [500.0]);
    assert_eq!(of("sordini_group_partition_lag_least_seconds", "group-ok"), [0.5]);
    assert_eq!(of("sordini_group_lost_offsets", "group-lost"), [2_000.0]);
    assert_eq!(family(&families, "process_start_time_seconds")[0].2, (NOON - 50 * 3_600_000) as f64 / 1000.0);
    let open = family(&families, "sordini_incidents");
    assert_eq!(open.iter().map(|s| s.2).sum::<f64>(), 8.0);
}

#[test]
fn pairs_of_stores_have_their_figures() {
    let families = open_metrics(&everything()[0]);
    let of = |name: &str, labels: &[(&str, &str)]| {
        let all = family(&families, name);
        let found = all.iter().find(|s| labels.iter().all(|(name, value)| label(s, name) == *value));
        found.map(|s| s.2)
    };
    let pair = ("pair", "orders-table");
    assert_eq!(of("sordini_drift_keys", &[pair, ("age", "10m")]), Some(3.0));
    assert_eq!(of("sordini_drift_keys", &[pair, ("age", "1h")]), Some(0.0));
    assert_eq!(of("sordini_drift_law_imbalances", &[pair, ("law", "sum(amount) by currency")]), Some(1.0));
    assert_eq!(of("sordini_drift_unverifiable_keys", &[pair, ("reason", "undecodable")]), Some(3.0));
    assert_eq!(of("sordini_drift_findings", &[pair, ("kind", "missing"), ("state", "open")]), Some(1.0));
    assert_eq!(of("sordini_drift_comparison_seconds", &[pair]), Some(2.5));
    assert_eq!(of("sordini_drift_checked_keys", &[pair]), Some(123_456.0));
    assert_eq!(of("sordini_drift_running", &[("pair", "fresh")]), Some(0.0));
    assert_eq!(of("sordini_drift_verdict", &[("pair", "fresh")]), None, "nothing is known of it");
}

#[test]
fn a_group_that_is_listed_twice_is_printed_once() {
    let board = sample::board();
    let mut snapshot = sample::snapshot();
    snapshot.groups.push(snapshot.groups[0].clone());
    board.lag.store(Arc::new(snapshot));
    open_metrics(&rendered(&board, options(&[Compat::KafkaExporter, Compat::LagExporter], false))[0]);
}

#[test]
fn a_reason_is_never_a_number() {
    let board = sample::board();
    let mut snapshot = sample::snapshot();
    for group in &mut snapshot.groups {
        (group.lag, group.record_lag, group.max_lag) =
            (Err(Unknown::Broker(15)), Err(Unknown::Denied), Err(Unknown::NotYet));
    }
    board.lag.store(Arc::new(snapshot));
    let families = open_metrics(&rendered(&board, options(&[Compat::LagExporter], true))[0]);
    for name in ["sordini_group_lag_offsets", "kafka_consumergroup_group_sum_lag", "kafka_consumergroup_group_max_lag"]
    {
        assert!(family(&families, name).is_empty(), "{name}");
    }
}

#[test]
fn promtool_accepts_the_text() {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is needed: install Debian's package prometheus");
    let [_, plain] = everything();
    child.stdin.take().unwrap().write_all(plain.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    // It also lints names, and those of other exporters are not ours to choose.
    let said = String::from_utf8(out.stderr).unwrap();
    let ours: Vec<&str> = said.lines().filter(|line| !line.starts_with("kafka_")).collect();
    assert!(ours.is_empty(), "{said}");
    assert!(out.status.code() == Some(0) || out.status.code() == Some(3), "{said}");
}

#[test]
fn the_metrics_document_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let written = docs::markdown();
    if std::env::var_os("SORDINI_UPDATE").is_some() {
        std::fs::write(path, &written).unwrap();
    }
    let known = std::fs::read_to_string(path).unwrap_or_default();
    assert!(known == written, "docs/metrics.md is out of date; SORDINI_UPDATE=1 cargo test metrics_document");
}
