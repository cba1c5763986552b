//! What the configuration makes of a key: how bad it is, how long it must last, whom it concerns. It must not know what is
//! open.

use std::time::Duration;

use super::error::{AlertError, Result};
use super::incident::{Key, Severity};
use super::{glob, mute};
use crate::config::alert::{AlertFile, Hold, RuleFile};

/// What holds for one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub severity: Severity,
    pub for_ms: i64,
    pub threshold: i64,
    pub mute: Vec<mute::Window>,
    pub route: Vec<String>,
    pub runbook: Option<String>,
    /// Absent: until somebody acknowledges.
    pub hold_ms: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct Rules {
    rules: Vec<RuleFile>,
    sinks: Vec<String>,
    pub resolve_after_ms: i64,
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Records that are gone or wrong are for now; what may right itself is given time to; what is only worth knowing does not
/// wake anyone up. The first kind that matches holds.
const BUILT_IN: &[(&[&str], Severity, Duration)] = &[
    (&["sequence-gap", "head-loss", "tail-loss", "offset-gap", "truncation"], Severity::Critical, Duration::ZERO),
    (&["retention-overrun", "conflict", "checksum-failure", "epoch-regression"], Severity::Critical, Duration::ZERO),
    (&["topic-reset", "audit-gap", "alert-state-lost"], Severity::Critical, Duration::ZERO),
    (
        &[
            "missing-stage",
            "stage-mismatch",
            "slo-burn",
            "missing",
            "differs",
            "stale",
            "extra",
            "imbalance",
            "lost-change",
        ],
        Severity::Critical,
        Duration::ZERO,
    ),
    (&["lag-lost", "lag-gone", "lag-skip"], Severity::Critical, Duration::ZERO),
    (
        &["lag-stop", "lag-stall", "lag-stuck", "lag-no-owner", "lag-absent"],
        Severity::Critical,
        MINUTE.saturating_mul(2),
    ),
    (&["lag-hanging-transaction"], Severity::Critical, MINUTE.saturating_mul(5)),
    (&["unreachable"], Severity::Critical, MINUTE.saturating_mul(2)),
    (&["lag-rewind", "duplicate", "reorder", "unexpected-record"], Severity::Warning, Duration::ZERO),
    // What losses have in common: they themselves have been told.
    (&["periodic-loss", "dimensional-loss", "burst", "retry-comb"], Severity::Warning, Duration::ZERO),
    (&["lag-warn", "lag-flapping", "behind"], Severity::Warning, MINUTE.saturating_mul(5)),
    (&["drift-stopped"], Severity::Warning, MINUTE.saturating_mul(5)),
    (&["timestamp-regression"], Severity::Info, Duration::ZERO),
];

fn built_in(kind: &str) -> (Severity, Duration) {
    let found = BUILT_IN.iter().find(|(kinds, ..)| kinds.contains(&kind));
    found.map_or((Severity::Warning, MINUTE), |&(_, severity, lasting)| (severity, lasting))
}

impl Rules {
    /// Checks the rules against the sinks there are.
    pub fn new(file: &AlertFile, sinks: Vec<String>) -> Result<Self> {
        for (at, rule) in file.rules.iter().enumerate() {
            let wrong = |what: String| AlertError::Rule { number: at + 1, what };
            if let Some(name) = rule.route.iter().flatten().find(|name| !sinks.contains(name)) {
                let known = if sinks.is_empty() { "there is none".to_owned() } else { sinks.join(", ") };
                return Err(wrong(format!("route names the sink \"{name}\"; known sinks: {known}")));
            }
            if rule.threshold.is_some_and(|threshold| threshold < 0) {
                return Err(wrong("threshold is negative".to_owned()));
            }
            if let Some(runbook) = &rule.runbook {
                check_runbook(runbook).map_err(wrong)?;
            }
        }
        let resolve_after_ms = millis(file.resolve_after.unwrap_or(MINUTE));
        Ok(Self { rules: file.rules.clone(), sinks, resolve_after_ms })
    }

    pub fn policy(&self, key: &Key) -> Policy {
        let nothing = RuleFile::default();
        let rule = self.rules.iter().find(|rule| concerns(rule, key)).unwrap_or(&nothing);
        let (severity, lasting) = built_in(&key.kind);
        Policy {
            severity: rule.severity.unwrap_or(severity),
            for_ms: millis(rule.lasting.unwrap_or(lasting)),
            threshold: rule.threshold.unwrap_or(0),
            mute: rule.mute.clone(),
            route: rule.route.clone().unwrap_or_else(|| self.sinks.clone()),
            runbook: rule.runbook.as_ref().map(|runbook| fill(runbook, key)),
            hold_ms: match rule.hold {
                Some(Hold::For(hold)) => Some(millis(hold)),
                Some(Hold::UntilAcknowledged) => None,
                // Somebody has to say whether it was meant to go.
                None if key.kind == "lag-gone" => None,
                None => Some(millis(HOUR)),
            },
        }
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    // A century is for ever, and sums of two do not overflow.
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).min(3_155_760_000_000)
}

fn concerns(rule: &RuleFile, key: &Key) -> bool {
    let fits = |patterns: &[String], value: Option<&str>| match value {
        Some(value) => patterns.is_empty() || glob::any(patterns, value),
        // A rule about topics says nothing of what has none.
        None => patterns.is_empty(),
    };
    fits(&rule.kind, Some(&key.kind))
        && fits(&rule.topic, key.topic.as_deref())
        && fits(&rule.group, key.group.as_deref())
}

const FIELDS: [&str; 3] = ["kind", "topic", "group"];

fn check_runbook(template: &str) -> std::result::Result<(), String> {
    if !(template.starts_with("https://") || template.starts_with("http://")) {
        return Err(format!("runbook \"{template}\" is no URL"));
    }
    for piece in template.split('{').skip(1) {
        let field = piece.split_once('}').map(|(field, _)| field);
        if !field.is_some_and(|field| FIELDS.contains(&field)) {
            return Err(format!("runbook \"{template}\": only {{kind}}, {{topic}} and {{group}} can be filled in"));
        }
    }
    Ok(())
}

/// A value becomes one segment of the URL, whatever is in it.
fn fill(template: &str, key: &Key) -> String {
    let values = [Some(key.kind.as_str()), key.topic.as_deref(), key.group.as_deref()];
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let (field, after) = after.split_once('}').unwrap_or((after, ""));
        let value = FIELDS.iter().position(|name| *name == field).and_then(|at| values[at]);
        escape(value.unwrap_or_default(), &mut out);
        rest = after;
    }
    out + rest
}

fn escape(value: &str, out: &mut String) {
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: &str, topic: Option<&str>, group: Option<&str>) -> Key {
        Key { kind: kind.to_owned(), topic: topic.map(str::to_owned), group: group.map(str::to_owned), partition: None }
    }

    fn rules(text: &str) -> Result<Rules> {
        Rules::new(&toml::from_str(text).unwrap(), vec!["ops".to_owned(), "dev".to_owned()])
    }

    #[test]
    fn the_first_rule_that_matches_wins() {
        let rules = rules(
            r#"
            [[rule]]
            kind = "lag-*"
            group = ["pay-*", "billing"]
            severity = "info"
            route = ["dev"]
            runbook = "https://wiki/{kind}?g={group}&t={topic}"
            [[rule]]
            kind = "lag-*"
            threshold = 10
            "#,
        )
        .unwrap();
        let policy = rules.policy(&key("lag-stop", Some("t"), Some("pay-ü/1")));
        assert_eq!((policy.severity, policy.route), (Severity::Info, vec!["dev".to_owned()]));
        assert_eq!(policy.runbook.as_deref(), Some("https://wiki/lag-stop?g=pay-%C3%BC%2F1&t=t"));
        assert_eq!(rules.policy(&key("lag-stop", None, Some("x"))).threshold, 10);
        // Nothing matches: the built-in rules, and every sink.
        let policy = rules.policy(&key("sequence-gap", Some("t"), None));
        assert_eq!((policy.severity, policy.for_ms, policy.route.len()), (Severity::Critical, 0, 2));
        assert_eq!(rules.policy(&key("lag-gone", None, Some("x"))).hold_ms, None);
    }

    #[test]
    fn mistakes_are_found_at_start_up() {
        let what = |text: &str| rules(text).unwrap_err().to_string();
        assert_eq!(
            what("[[rule]]\n[[rule]]\nroute = [\"opps\"]"),
            "alert rule 2: route names the sink \"opps\"; known sinks: ops, dev"
        );
        assert!(what("[[rule]]\nrunbook = \"https://x/{Kind}\"").contains("can be filled in"));
        assert!(what("[[rule]]\nrunbook = \"wiki\"").contains("no URL"));
    }

    #[test]
    fn every_kind_there_is_has_a_rule_of_its_own() {
        let findings = crate::audit::finding::Kind::ALL.iter().map(|kind| kind.name().to_owned());
        let verdicts = crate::lag::verdict::Verdict::ALL.iter().filter(|verdict| verdict.is_bad());
        for kind in findings.chain(verdicts.map(|verdict| format!("lag-{verdict}"))) {
            assert!(BUILT_IN.iter().any(|(kinds, ..)| kinds.contains(&kind.as_str())), "{kind}");
        }
    }
}
