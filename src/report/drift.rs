//! What a comparison of two stores says of itself, in words.

use super::format::{bytes, plural, thousands, visible};
use crate::audit::drift::{Befores, Claim, DriftSummary, Following, LawSummary, PairSummary};

/// No drift, only lag.
pub const NOT_COPIED: &str = "not copied yet";

/// What was found, each with its word; zeros are said too.
pub fn found(drifts: &[&DriftSummary]) -> Vec<(u64, &'static str)> {
    let sum = |count: fn(&DriftSummary) -> u64| drifts.iter().map(|drift| count(drift)).sum();
    let mut found = vec![
        (sum(|drift| drift.missing), "missing"),
        (sum(|drift| drift.extra), "extra"),
        (sum(|drift| drift.differs), "different"),
    ];
    if drifts.iter().any(|drift| !is_mirror(drift)) {
        found.push((sum(|drift| drift.stale), "stale"));
    }
    if drifts.iter().any(|drift| drift.befores.as_ref().is_some_and(Befores::are_told)) {
        found.push((sum(|drift| drift.lost_changes), "lost on the way"));
    }
    if drifts.iter().any(|drift| is_mirror(drift)) {
        found.extend([
            (sum(|drift| drift.repeated), "repeated"),
            (sum(|drift| drift.reordered), "out of order"),
            (sum(|drift| drift.lag), NOT_COPIED),
        ]);
    }
    found
}

/// Of which nothing can be said.
pub fn unverifiable(drifts: &[&DriftSummary]) -> u64 {
    drifts.iter().flat_map(|drift| drift.unverifiable.values()).sum()
}

pub fn counts(drifts: &[&DriftSummary]) -> String {
    let found: Vec<String> =
        found(drifts).into_iter().map(|(count, word)| format!("{} {word}", thousands(count))).collect();
    match unverifiable(drifts) {
        0 => found.join(", "),
        count => format!("{}; {} not verifiable", found.join(", "), thousands(count)),
    }
}

/// How keys of a topic and its compacted mirror are found.
const MERGED: &str = "merged";
/// Those of an earlier report.
const NAMED: &str = "named";
/// Why nothing is said of keys beyond those that are looked at one by one.
const NOT_LOOKED_AT: &str = "not-looked-at";

/// A topic and its copy are compared by records unless one is compacted, everything else by the rows of keys.
fn is_mirror(drift: &DriftSummary) -> bool {
    drift.columns.is_empty()
}

/// The sides, the cut, and what was let pass.
pub fn lines(drift: &DriftSummary) -> Vec<String> {
    let (of_first, of_second) = if is_mirror(drift) { ("record", "record") } else { ("key", "row") };
    let came =
        if drift.table_bytes > 0 { format!(", {} came from it", bytes(drift.table_bytes)) } else { String::new() };
    let mut lines = vec![
        format!("first: {}, {}", visible(&drift.first), plural(drift.keys, of_first)),
        format!("second: {}, {}{came}", visible(&drift.second), plural(drift.rows, of_second)),
    ];
    if !is_mirror(drift) {
        lines.push(format!(
            "columns: {}",
            drift.columns.iter().map(|name| visible(name)).collect::<Vec<_>>().join(", ")
        ));
    }
    let claim = match drift.claim {
        Claim::Exact if drift.located_by == MERGED => {
            let flight = plural(drift.in_flight, "key");
            format!("both logs were read; {flight} in flight could be any version since the mirror's last record")
        }
        Claim::Exact if drift.snapshot.is_some() => {
            "events count by whether the table's snapshot sees their transaction".to_owned()
        }
        Claim::Exact => "both logs were read side by side up to their last stable offsets".to_owned(),
        Claim::Bracketed => format!("{} in flight could be any version since the cut", plural(drift.in_flight, "key")),
        Claim::Heuristic if drift.cuts.is_empty() && drift.snapshot.is_none() => {
            "what differs was read again after the settle time".to_owned()
        }
        Claim::Heuristic if drift.located_by == MERGED => {
            "what is no younger than the mirror's last records is taken to have arrived".to_owned()
        }
        Claim::Heuristic if drift.snapshot.is_some() => {
            "nothing showed that the topic has all that the table's snapshot sees".to_owned()
        }
        Claim::Heuristic => "what is older than the settle time is taken to have arrived".to_owned(),
    };
    lines.push(format!("claim: {}; {claim}", drift.claim.name()));
    let counted = |what: &str, counts: &std::collections::BTreeMap<String, u64>| {
        let each = counts.iter().map(|(name, count)| format!("{} {}", visible(name), thousands(*count)));
        let each = each.collect::<Vec<_>>().join(", ");
        (!each.is_empty()).then(|| format!("{what}: {each}"))
    };
    if let Some(following) = &drift.following {
        lines.push(followed(following));
    } else if drift.suspects > 0 {
        lines.push(suspected(drift));
    }
    lines.extend(drift.laws.iter().map(conserved));
    lines.extend(counted("columns that differ", &drift.worst_columns));
    lines.extend(counted("let pass, by column", &drift.relaxed));
    lines.extend(counted("not verifiable", &drift.unverifiable));
    lines
}

fn conserved(law: &LawSummary) -> String {
    let groups = plural(law.groups, "group");
    let moving = match law.moving {
        0 => String::new(),
        moving => format!(" but {} with rows on their way, of which nothing is said", thousands(moving)),
    };
    let what = match (&law.unjudged, law.wrong) {
        (Some(why), _) => format!("not judged: {why}"),
        (None, 0) => format!("{groups}, all conserved{moving}"),
        (None, wrong) => format!("{groups}, {} not conserved{moving}", thousands(wrong)),
    };
    format!("{}: {what}", visible(&law.law))
}

fn suspected(drift: &DriftSummary) -> String {
    if drift.located_by == NAMED {
        let keys = plural(drift.suspects, "key");
        return format!("{keys} of an earlier report looked at again, {} wrong", thousands(drift.confirmed));
    }
    let left = drift.unverifiable.get(NOT_LOOKED_AT).copied().unwrap_or(0);
    if left > 0 {
        return format!(
            "{} looked wrong at the first look ({}); {} of them were looked at again, {} still wrong",
            plural(drift.suspects, "key"),
            located(&drift.located_by),
            thousands(drift.suspects.saturating_sub(left)),
            thousands(drift.confirmed)
        );
    }
    let settled = drift.suspects.saturating_sub(drift.confirmed);
    format!(
        "{} looked wrong at the first look ({}), {} at the second",
        plural(drift.suspects, "key"),
        located(&drift.located_by),
        if settled == 0 { "all of them also".to_owned() } else { format!("{} still", thousands(drift.confirmed)) }
    )
}

fn followed(following: &Following) -> String {
    let ages = following.wrong.iter().filter(|age| age.keys > 0);
    let ages: Vec<String> = ages.map(|age| format!("{} for {}", thousands(age.keys), age.age)).collect();
    let wrong = if ages.is_empty() { "none".to_owned() } else { ages.join(", ") };
    format!(
        "followed: {} ({} of {} parts), {} at single keys, {} wait for the group, {} healed; wrong now, at least so long: {wrong}",
        plural(following.comparisons, "full comparison"),
        following.compared_parts.len(),
        following.parts,
        plural(following.checked, "look"),
        plural(following.waiting, "key"),
        thousands(following.resolved),
    )
}

fn located(by: &str) -> &str {
    match by {
        "equal" => "by their records in flight",
        MERGED => "found side by side",
        "digests" => "found by their digests",
        _ => "found by cells",
    }
}

/// A line for each pair: its name and what became of it.
pub fn pair(pair: &PairSummary) -> String {
    let what = pair.drift.as_ref().map_or("could not be compared".to_owned(), |drift| counts(&[drift]));
    format!("{}: {} (exit {}), {what}", visible(&pair.pair), pair.verdict.name(), pair.exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(claim: Claim, change: impl FnOnce(&mut DriftSummary)) -> String {
        let mut drift = DriftSummary::new("topic a".to_owned(), "table b".to_owned(), claim);
        drift.columns = vec!["id".to_owned()];
        change(&mut drift);
        lines(&drift).join("\n")
    }

    #[test]
    fn the_claim_says_what_was_done() {
        let captured = |drift: &mut DriftSummary| drift.snapshot = Some("7:9:8 at 0/1".to_owned());
        assert!(said(Claim::Exact, captured).contains("claim: exact; events count by whether"));
        assert!(
            said(Claim::Heuristic, |drift| {
                captured(drift);
                drift.cuts.push(crate::audit::drift::Cut { partition: 0, settled: 1, end: 1 });
            })
            .contains("claim: heuristic; nothing showed")
        );
        assert!(said(Claim::Exact, |_| {}).contains("side by side"));
    }

    /// They did not right themselves: nobody looked.
    #[test]
    fn keys_that_were_not_looked_at_again_are_not_taken_for_right() {
        let limited = said(Claim::Bracketed, |drift| {
            (drift.suspects, drift.confirmed, drift.located_by) = (1_000, 10, "digests".to_owned());
            drift.unverifiable.insert(NOT_LOOKED_AT.to_owned(), 990);
        });
        assert!(limited.contains("10 of them were looked at again, 10 still wrong"), "{limited}");
    }

    #[test]
    fn named_keys_were_not_found_by_looking() {
        let named = said(Claim::Bracketed, |drift| {
            drift.located_by = NAMED.to_owned();
            (drift.suspects, drift.confirmed) = (5, 2);
        });
        assert!(named.contains("5 keys of an earlier report looked at again, 2 wrong"), "{named}");
    }
}
