//! What is wrong with one key, from what the topic says of it and what the table holds.

use super::history::{Content, History, Version};
use super::shape::Row;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it must be, or as it may be while records are on their way.
    Fine,
    Missing {
        expected: Version,
    },
    /// The topic deleted it, or never had it.
    Extra {
        deleted: Option<Version>,
        actual: Row,
    },
    Differs {
        expected: Version,
        actual: Row,
    },
    /// The row is what an older version says.
    Stale {
        expected: Version,
        older: Version,
        versions_behind: u64,
        actual: Row,
    },
    /// The table has several rows of one key.
    Repeated {
        rows: Vec<Row>,
    },
    Unverifiable(&'static str),
}

impl Verdict {
    /// The row that has other content than it should.
    pub fn actual(&self) -> Option<&Row> {
        match self {
            Verdict::Differs { actual, .. } | Verdict::Stale { actual, .. } => Some(actual),
            _ => None,
        }
    }
}

/// `is_trimmed`: records may have left the topic from its front.
pub fn judge(history: Option<&History>, rows: &[Row], is_trimmed: bool) -> Verdict {
    if rows.len() > 1 {
        return Verdict::Repeated { rows: rows.to_vec() };
    }
    let actual = rows.first();
    let Some(history) = history.filter(|history| !history.versions.is_empty()) else {
        return match actual {
            None => Verdict::Fine,
            Some(_) if is_trimmed => Verdict::Unverifiable("retention"),
            Some(actual) => Verdict::Extra { deleted: None, actual: actual.clone() },
        };
    };
    let (settled, open) = history.allowed();
    let is_allowed = |version: &&Version| match &version.content {
        Content::Row(row) => actual == Some(row),
        Content::Deleted => actual.is_none(),
        Content::Unreadable(_) => false,
    };
    if open.iter().any(is_allowed) || settled.iter().all(is_allowed) && !settled.is_empty() {
        return Verdict::Fine;
    }
    if settled.iter().any(is_allowed) {
        // One of them is wrong, and nothing says which.
        return Verdict::Unverifiable("several-partitions");
    }
    if settled.is_empty() && actual.is_none() {
        return Verdict::Fine;
    }
    if settled.iter().chain(&open).any(|version| matches!(version.content, Content::Unreadable(_))) {
        return Verdict::Unverifiable("undecodable");
    }
    // What was certain to be there, or else the first that may be.
    let Some(expected) = settled.iter().max_by_key(|version| version.timestamp).or(open.first()) else {
        return Verdict::Fine;
    };
    if settled.is_empty() && is_trimmed {
        return Verdict::Unverifiable("retention");
    }
    let expected = (*expected).clone();
    match (&expected.content, actual) {
        (Content::Row(_), None) => Verdict::Missing { expected },
        (Content::Row(_), Some(actual)) => match older(history, &expected, actual) {
            Some((older, versions_behind)) => {
                Verdict::Stale { expected, older, versions_behind, actual: actual.clone() }
            }
            None => Verdict::Differs { expected, actual: actual.clone() },
        },
        (_, Some(actual)) => Verdict::Extra { deleted: Some(expected), actual: actual.clone() },
        (_, None) => Verdict::Fine,
    }
}

/// The latest version before the expected one that says what the row is, and how many versions lie between.
fn older(history: &History, expected: &Version, actual: &Row) -> Option<(Version, u64)> {
    let is_earlier = |version: &&Version| match version.partition == expected.partition {
        true => version.offset < expected.offset,
        false => !version.is_open && version.timestamp < expected.timestamp,
    };
    let mut earlier: Vec<&Version> = history.versions.iter().filter(is_earlier).collect();
    // Offsets order one partition, and times all of them.
    earlier.sort_by_key(|version| match version.partition == expected.partition {
        true => (expected.timestamp, version.offset),
        false => (version.timestamp, 0),
    });
    let mut behind = 0;
    for version in earlier.into_iter().rev() {
        behind += 1;
        if version.content == Content::Row(actual.clone()) {
            return Some((version.clone(), behind));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Row {
        Row { keys: vec!["1".to_owned()], values: vec![Some(text.to_owned())] }
    }

    /// `settled` versions are certain.
    fn history(texts: &[Option<&str>], settled: i64) -> History {
        let version = |(offset, text): (usize, &Option<&str>)| Version {
            partition: 0,
            offset: offset as i64,
            timestamp: 1_000 * offset as i64,
            checksum: 0,
            content: text.map_or(Content::Deleted, |text| Content::Row(row(text))),
            is_open: offset as i64 >= settled,
        };
        History { versions: texts.iter().enumerate().map(version).collect(), forgotten: 0 }
    }

    fn judged(texts: &[Option<&str>], settled: i64, actual: Option<&str>) -> String {
        let rows: Vec<Row> = actual.map(row).into_iter().collect();
        match judge(Some(&history(texts, settled)), &rows, false) {
            Verdict::Fine => "fine".to_owned(),
            Verdict::Missing { expected } => format!("missing {}", expected.offset),
            Verdict::Extra { deleted, .. } => format!("extra {:?}", deleted.map(|version| version.offset)),
            Verdict::Differs { expected, .. } => format!("differs {}", expected.offset),
            Verdict::Stale { older, versions_behind, .. } => format!("stale {} by {versions_behind}", older.offset),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn what_is_settled_must_be_exact() {
        let texts = [Some("a"), Some("b"), Some("c")];
        assert_eq!(judged(&texts, 3, Some("c")), "fine");
        assert_eq!(judged(&texts, 3, Some("x")), "differs 2");
        assert_eq!(judged(&texts, 3, Some("a")), "stale 0 by 2");
        assert_eq!(judged(&texts, 3, None), "missing 2");
        assert_eq!(judged(&[Some("a"), None], 2, Some("a")), "extra Some(1)");
        assert_eq!(judged(&[Some("a"), None], 2, None), "fine");
    }

    /// The key moved to another partition when the topic was given more of them.
    #[test]
    fn of_several_partitions_the_times_say_which_version_is_the_last() {
        let version = |partition, timestamp, text: Option<&str>| Version {
            partition,
            offset: 7,
            timestamp,
            checksum: 0,
            content: text.map_or(Content::Deleted, |text| Content::Row(row(text))),
            is_open: false,
        };
        let said = |moved_ms: i64, text: Option<&str>, actual: Option<&str>| {
            let versions = [version(0, 1_000, Some("a")), version(2, moved_ms, text)];
            let rows: Vec<Row> = actual.map(row).into_iter().collect();
            judge(Some(&History { versions: versions.into(), forgotten: 0 }), &rows, false)
        };
        assert_eq!(said(2_000, Some("b"), Some("b")), Verdict::Fine);
        assert!(matches!(said(2_000, Some("b"), Some("a")), Verdict::Stale { versions_behind: 1, .. }));
        assert!(matches!(said(2_000, None, Some("a")), Verdict::Extra { deleted: Some(_), .. }));
        assert!(matches!(said(2_000, Some("b"), Some("x")), Verdict::Differs { .. }));
        assert_eq!(said(1_000, Some("b"), Some("a")), Verdict::Unverifiable("several-partitions"));
        assert_eq!(said(1_000, Some("a"), Some("a")), Verdict::Fine);
        assert!(matches!(said(1_000, Some("b"), Some("x")), Verdict::Differs { .. }));
    }

    #[test]
    fn what_is_in_flight_may_be_any_version_from_the_last_settled_one() {
        let texts = [Some("a"), Some("b"), Some("c"), None];
        for (actual, said) in [
            (Some("b"), "fine"),
            (Some("c"), "fine"),
            (None, "fine"),
            (Some("a"), "stale 0 by 1"),
            (Some("x"), "differs 1"),
        ] {
            assert_eq!(judged(&texts, 2, actual), said, "{actual:?}");
        }
        assert_eq!(judged(&texts, 0, None), "fine", "nothing of it must have arrived");
    }

    #[test]
    fn a_row_without_a_record_is_extra_only_where_no_record_can_have_left() {
        assert!(matches!(judge(None, &[row("a")], false), Verdict::Extra { deleted: None, .. }));
        assert_eq!(judge(None, &[row("a")], true), Verdict::Unverifiable("retention"));
        assert!(matches!(judge(None, &[row("a"), row("b")], false), Verdict::Repeated { .. }));
    }
}
