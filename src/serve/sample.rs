//! A board for tests and for looking at the page: every verdict, figures that are unknown, incidents in every state, and
//! names that try to break out of their place.

mod drift;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::board::{Actions, AuditView, Board, Pulse, SinkView};
use crate::alert::incident::{Acknowledged, Incident, Key, Observed, Severity};
use crate::audit::verdict::Report;
use crate::lag::facts::{GroupKind, GroupState};
use crate::lag::figure::Unknown;
use crate::lag::snapshot::{
    Change, Forecast, GroupLag, Method, PartitionLag, PartitionMarks, Round, Snapshot, TimeLag, VolumeRoom,
};
use crate::lag::verdict::{Judgement, Verdict};
use crate::lag::window::Mark;
use crate::report::sample as reports;
pub use crate::report::sample::NOON;

pub const EVIL: &str = "<script>alert(\"1\")</script>&'\u{202e}\\\n{}";
const MINUTE: i64 = 60_000;

pub fn board() -> Arc<Board> {
    let board = Board::new(NOON - 50 * 60 * MINUTE);
    board.lag.store(Arc::new(snapshot()));
    let audits = [
        ("orders", Some(reports::many()), None),
        ("settled", Some(reports::clean()), None),
        ("purchases", Some(reports::flow()), None),
        (
            "refunds",
            Some(reports::unverified()),
            Some("broker 2 at kafka:9093 refused the connection; trying again in 30 s"),
        ),
        ("strange", Some(reports::hostile()), Some(EVIL)),
        ("fresh", None, None),
    ];
    board
        .audits
        .store(Arc::new(audits.into_iter().map(|(name, report, trouble)| audit(name, report, trouble)).collect()));
    board.drifts.store(Arc::new(drift::pairs()));
    board.incidents.store(Arc::new(incidents()));
    board.sinks.store(Arc::new(sinks()));
    let pulse = |ready| Pulse { last_ms: NOON - 4_000, allowed_ms: 60_000, ready };
    let parts = [("lag", true), ("alerts", true), ("audit:orders", true)];
    board.pulses.store(Arc::new(parts.map(|(part, ready)| (part.to_owned(), pulse(ready))).into()));
    Arc::new(board)
}

fn audit(name: &str, report: Option<Report>, trouble: Option<&str>) -> (String, AuditView) {
    let view = AuditView {
        name: name.to_owned(),
        behind: report.as_ref().map(|_| 1_204),
        report: report.map(Arc::new),
        at_ms: NOON - 9_000,
        records_per_second: 48_210.5,
        trouble: trouble.map(str::to_owned),
        restarts: u64::from(trouble.is_some()) * 3,
    };
    (name.to_owned(), view)
}

pub fn snapshot() -> Snapshot {
    let mut groups: Vec<GroupLag> = Verdict::ALL.into_iter().map(by_verdict).collect();
    groups.push(unknown());
    groups.push(GroupLag { group: EVIL.into(), ..by_verdict(Verdict::Stop) });
    groups.sort_by(|a, b| a.group.cmp(&b.group));
    let mut partitions: Vec<PartitionMarks> =
        (0..6).map(|p| marks("orders", p)).chain((0..3).map(|p| marks("payments", p))).collect();
    partitions[1].hanging =
        Some(judged(Verdict::HangingTransaction, "the last stable offset has stood at 90,210 for 14 min"));
    partitions.push(PartitionMarks {
        log_start: Err(Unknown::NoLeader),
        stable_end: Err(Unknown::NoLeader),
        end: Err(Unknown::NoLeader),
        span: None,
        ..marks("leaderless", 0)
    });
    partitions.push(marks(EVIL, 0));
    let (evaluated, expected) = (groups.iter().map(|g| g.evaluated).sum(), groups.iter().map(|g| g.expected).sum());
    Snapshot {
        at_ms: NOON - 4_000,
        cluster: "backbone".to_owned(),
        groups,
        partitions,
        volumes: vec![VolumeRoom {
            broker: 1,
            path: EVIL.into(),
            total_bytes: 500_000_000_000,
            usable_bytes: 90_000_000_000,
            forecast: Some(Forecast {
                what: "volume-fills".to_owned(),
                at_ms: Some(NOON + 40 * 60 * MINUTE),
                assumption: "90.0 GB are usable and go at 2.3 GB an hour as in the last 4 h".to_owned(),
                past_error: None,
            }),
        }],
        happened: Vec::new(),
        troubles: vec!["broker 3 at kafka-3:9092 did not answer within 5 s; 1 partition is unknown".to_owned()],
        round: Round { number: 812, seconds: 0.412, requests: 23, evaluated, expected },
    }
}

fn judged(verdict: Verdict, why: &str) -> Judgement {
    Judgement {
        verdict,
        why: why.to_owned(),
        numbers: BTreeMap::from([("silent_ms".to_owned(), 252_000), ("behind_offsets".to_owned(), 12_300)]),
        window_ms: (NOON - 15 * MINUTE, NOON - 4_000),
    }
}

fn why(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "reads on at 1,240 offsets/s and is 3 behind",
        Verdict::Unknown => "the coordinator could not be asked; the last answer is 6 min old",
        Verdict::Warn => "falls behind by 310 offsets/s over 12 min; the next unread record is 8 min 20 s old",
        Verdict::Flapping => "rebalanced 9 times within 10 min",
        Verdict::HangingTransaction => "the last stable offset has not moved for 14 min; 1,463 records wait behind it",
        Verdict::Stuck => "orders[1] has stood at 90,210 for 22 min while 5 other partitions moved",
        Verdict::Stall => "commits 88,120 again and again, 14 times in 7 min, with 4,000 to read",
        Verdict::Stop => "no commit for 4 min 12 s, 5 times its usual pace, with 12,300 to read",
        Verdict::NoOwner => "12,300 offsets to read and no member to read them, for 6 min",
        Verdict::Rewind => "went back from 91,000 to 88,120: 2,880 records are read again",
        Verdict::Skip => "jumped from 80,000 to 91,000; 11,000 records were never delivered",
        Verdict::Lost => "retention deleted offsets 88,120 to 90,119 before they were read: 2,000",
        Verdict::Gone => "vanished 31 min ago with 12,300 to read",
        Verdict::Absent => "is required by the configuration and does not exist",
    }
}

pub fn by_verdict(verdict: Verdict) -> GroupLag {
    let behind = if verdict == Verdict::Ok { 3 } else { 12_300 };
    let mut partitions: Vec<PartitionLag> = (0..6).map(|p| part("orders", p, Verdict::Ok, 3)).collect();
    partitions[1] = part("orders", 1, verdict, behind);
    if verdict == Verdict::Lost {
        (partitions[1].lost, partitions[1].lost_total) = (Ok(2_000), 2_000);
    }
    if verdict == Verdict::Unknown {
        partitions[1].lag = Err(Unknown::Unreachable);
        partitions[1].time = Err(Unknown::Unreachable);
    }
    let steps = 60;
    let curve = (0..=steps).map(|step| (NOON - (steps - step) * MINUTE, curve(verdict, step, behind))).collect();
    let judgement = judged(verdict, why(verdict));
    GroupLag {
        group: format!("group-{verdict}").into(),
        kind: GroupKind::Consumer,
        state: Ok(GroupState::Stable),
        members: Ok(3),
        offsets: Ok(()),
        lag: Ok(behind + 15),
        record_lag: Ok(behind + 9),
        max_lag: Ok(behind),
        max_time_ms: Ok(500_000),
        evaluated: if verdict == Verdict::Unknown { 5 } else { 6 },
        expected: 6,
        read_committed: true,
        isolation_is_guess: verdict == Verdict::Warn,
        history: vec![
            Change { at_ms: NOON - 50 * MINUTE, verdict: Verdict::Ok, why: why(Verdict::Ok).to_owned() },
            Change { at_ms: NOON - 12 * MINUTE, verdict, why: judgement.why.clone() },
        ],
        judgement,
        partitions,
        curve,
        forecasts: vec![
            Forecast {
                what: "catches-up".to_owned(),
                at_ms: (verdict != Verdict::Stop).then_some(NOON + 25 * MINUTE),
                assumption: "both sides go on at the pace of the last 10 min".to_owned(),
                past_error: Some(0.12),
            },
            Forecast {
                what: "retention-overtakes".to_owned(),
                at_ms: Some(NOON + 34 * MINUTE),
                assumption: "the log start of orders[1] goes on by 400 offsets/s".to_owned(),
                past_error: None,
            },
        ],
    }
}

fn curve(verdict: Verdict, step: i64, behind: i64) -> i64 {
    let wave = (step * 37) % 11 * 40;
    match verdict {
        Verdict::Ok => wave / 10,
        _ => (behind * (step - 20).max(0) / 40 + wave).min(behind.max(wave)),
    }
}

fn part(topic: &str, partition: i32, verdict: Verdict, behind: i64) -> PartitionLag {
    let estimated = partition == 2;
    let ms = if behind > 100 { 500_000 } else { 800 };
    let method = if estimated { Method::Rounds } else { Method::Record };
    PartitionLag {
        topic: topic.into(),
        partition,
        judgement: judged(verdict, why(verdict)),
        committed: Ok(100_000 - behind),
        log_start: Ok(10_000),
        stable_end: Ok(100_000),
        end: Ok(100_020),
        lag: Ok(behind),
        record_lag: if partition == 0 { Err(Unknown::NotRead) } else { Ok(behind) },
        time: Ok(TimeLag {
            ms,
            at_least_ms: if estimated { ms - 300 } else { ms },
            at_most_ms: if estimated { ms + 700 } else { ms },
            method,
        }),
        lost: Ok(0),
        lost_total: 0,
        owner: Some((format!("till-{partition}").into(), "/10.0.3.7".into())),
        commits: 40,
        last_commit_ms: Some(NOON - 5_000),
    }
}

/// Nothing but the name is known.
pub fn unknown() -> GroupLag {
    let partition = PartitionLag {
        committed: Err(Unknown::NeverCommitted),
        log_start: Err(Unknown::NoLeader),
        stable_end: Err(Unknown::NoLeader),
        end: Err(Unknown::NoLeader),
        lag: Err(Unknown::NeverCommitted),
        record_lag: Err(Unknown::NotRead),
        time: Err(Unknown::NeverCommitted),
        lost: Err(Unknown::NeverCommitted),
        owner: None,
        last_commit_ms: None,
        ..part("leaderless", 0, Verdict::Unknown, 0)
    };
    GroupLag {
        group: "never-heard".into(),
        kind: GroupKind::Classic,
        state: Err(Unknown::Unreachable),
        members: Err(Unknown::Unreachable),
        lag: Err(Unknown::NeverCommitted),
        record_lag: Err(Unknown::NotRead),
        max_lag: Err(Unknown::NeverCommitted),
        max_time_ms: Err(Unknown::NeverCommitted),
        evaluated: 0,
        expected: 1,
        partitions: vec![partition],
        history: Vec::new(),
        curve: Vec::new(),
        forecasts: Vec::new(),
        ..by_verdict(Verdict::Unknown)
    }
}

fn marks(topic: &str, partition: i32) -> PartitionMarks {
    let at = |step: i64| Mark {
        at_ms: NOON - (10 - step) * MINUTE,
        log_start: 9_000 + step * 100,
        stable_end: Some(99_000 + step * 100),
        end: 99_020 + step * 100,
    };
    PartitionMarks {
        topic: topic.into(),
        partition,
        log_start: Ok(10_000),
        stable_end: Ok(100_000),
        end: Ok(100_020),
        hanging: None,
        span: Some((at(0), at(10))),
        forecast: (partition == 2).then(|| Forecast {
            what: "retention-fills".to_owned(),
            at_ms: Some(NOON + 90 * MINUTE),
            assumption: "the log covers 8 d now, it is meant to cover 7 d, and it shrinks by 16 h a day".to_owned(),
            past_error: Some(0.08),
        }),
    }
}

fn incidents() -> Vec<Incident> {
    let incident = |n: u32, kind: &str, severity, group: Option<&str>, topic: Option<&str>, why: &str| Incident {
        id: format!("{n:016x}"),
        observed: Observed {
            key: Key {
                kind: kind.to_owned(),
                group: group.map(str::to_owned),
                topic: topic.map(str::to_owned),
                partition: topic.map(|_| 1),
            },
            why: why.to_owned(),
            amount: 12_300,
            command: format!("sordini lag -b kafka:9092 -g '{}'", group.unwrap_or("x")),
            findings: Vec::new(),
            is_event: false,
        },
        severity,
        since_ms: NOON - 14 * MINUTE,
        opened_ms: Some(NOON - 12 * MINUTE),
        updated_ms: NOON - 4_000,
        resolved_ms: None,
        acknowledged: None,
        muted_until_ms: None,
        route: vec!["alertmanager".to_owned()],
        runbook: Some("https://runbooks.example.com/sordini".to_owned()),
    };
    let mut loss =
        incident(1, "sequence-gap", Severity::Critical, None, Some("orders"), "1,205 records lost in 2 sessions");
    loss.observed.findings = vec![reports::missing("pump-7", 2, 17, 21, 12).id];
    let stop = incident(2, "lag-stop", Severity::Critical, Some("group-stop"), None, why(Verdict::Stop));
    let mut known = incident(3, "lag-warn", Severity::Warning, Some("group-warn"), None, why(Verdict::Warn));
    known.acknowledged = Some(Acknowledged {
        by: "mara".to_owned(),
        note: "backfill runs until noon".to_owned(),
        at_ms: NOON - 8 * MINUTE,
    });
    let mut muted = incident(4, "lag-flapping", Severity::Info, Some("group-flapping"), None, why(Verdict::Flapping));
    muted.muted_until_ms = Some(NOON + 60 * MINUTE);
    let mut pending =
        incident(5, "behind", Severity::Warning, None, Some("orders"), "the audit is 1,204 offsets behind");
    pending.opened_ms = None;
    let mut over = incident(6, "unreachable", Severity::Warning, None, None, "broker 3 did not answer for 2 min");
    over.resolved_ms = Some(NOON - 3 * MINUTE);
    let mut evil = incident(7, EVIL, Severity::Critical, Some(EVIL), Some(EVIL), EVIL);
    evil.id = "evil\"><script>".to_owned();
    evil.runbook = Some("javascript:alert(1)".to_owned());
    evil.acknowledged = Some(Acknowledged { by: EVIL.to_owned(), note: EVIL.to_owned(), at_ms: NOON });
    let mut drift =
        incident(8, "missing", Severity::Critical, None, Some("orders-table"), "orders-table: id 4 is not there");
    drift.resolved_ms = Some(NOON - MINUTE);
    vec![loss, stop, evil, known, muted, pending, over, drift]
}

fn sinks() -> Vec<SinkView> {
    let sink = |name: &str, kind, delivered, failed, error: Option<&str>| SinkView {
        name: name.to_owned(),
        kind,
        delivered,
        failed,
        waiting: failed,
        last_error: error.map(str::to_owned),
        last_success_ms: (delivered > 0).then_some(NOON - MINUTE),
    };
    vec![
        sink("alertmanager", "alertmanager", 14, 0, None),
        sink("night-shift", "email", 0, 2, Some("connection to mail:587 timed out; trying again in 40 s")),
    ]
}

/// Remembers what was asked for.
#[derive(Default)]
pub struct Recorded {
    pub calls: Mutex<Vec<String>>,
}

impl Recorded {
    fn note(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }
}

impl Actions for Recorded {
    fn acknowledge(&self, incident: &str, by: &str, note: &str) -> Result<(), String> {
        self.note(format!("acknowledge {incident} by {by}: {note}"));
        Ok(())
    }

    fn mute(&self, incident: &str, until_ms: Option<i64>) -> Result<(), String> {
        self.note(format!("mute {incident} until {until_ms:?}"));
        Ok(())
    }

    fn search(&self, identity: &str) -> Result<Vec<Value>, String> {
        match identity {
            "broken" => Err("the ledger of orders could not be read; run sordini ledger verify".to_owned()),
            "order-4711" => Ok(vec![json!({
                "type": "identity", "audit": "orders", "rung": "id", "hash": "0123456789abcdef0123456789abcdef", "value": EVIL,
                "sightings": [{"topic": "orders", "partition": 2, "offset": 702, "timestamp": NOON, "checksum": "00ff"}],
            })]),
            _ => Ok(Vec::new()),
        }
    }
}
