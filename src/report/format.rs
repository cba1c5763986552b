//! Numbers, times and foreign text as people read them.
//!
//! Counts carry thousands separators. Coordinates (offsets, session numbers) do not, so that they can be pasted into
//! another tool. Ranges are shown with both ends included.

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use crate::audit::finding::Span;

/// Last millisecond of the year 9999, the end of RFC 3339.
const LAST_MS: u64 = 253_402_300_799_999;

pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 finding`, `1,200 findings`, `3 batches`.
pub fn plural(n: u64, noun: &str) -> String {
    let ending = match n {
        1 => "",
        _ if noun.ends_with("ch") => "es",
        _ => "s",
    };
    format!("{} {noun}{ending}", thousands(n))
}

/// An error and what caused it, in one line. A cause that its effect has quoted already is not said again.
pub fn causes(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if said.is_empty() {
            said = cause;
        } else if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

/// Decimal units: `812 B`, `4.2 MB`.
pub fn bytes(n: u64) -> String {
    let mut value = n as f64;
    let mut unit = "B";
    for larger in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        unit = larger;
    }
    if unit == "B" { format!("{n} B") } else { format!("{value:.1} {unit}") }
}

/// Share in percent, rounded down: only the whole is 100 %.
pub fn percent(part: u64, whole: u64) -> String {
    if part >= whole {
        return "100 %".to_owned();
    }
    let tenths = u128::from(part) * 1000 / u128::from(whole);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// ISO 8601 in UTC to the second. Record times are whatever a producer wrote, so impossible ones are shown as they are.
pub fn utc(ms: i64) -> String {
    match u64::try_from(ms) {
        Ok(ms) if ms <= LAST_MS => {
            humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
        }
        _ => format!("time {ms} ms"),
    }
}

/// `12 min ago`, or how far a record's time runs ahead.
pub fn ago(ms: i64, now_ms: i64) -> String {
    let distance = duration(now_ms.abs_diff(ms));
    if ms > now_ms { format!("{distance} ahead") } else { format!("{distance} ago") }
}

/// The two largest units that matter: `350 ms`, `12 s`, `3 h 20 min`, `2 d 4 h`.
pub fn duration(ms: u64) -> String {
    let (seconds, minutes, hours, days) = (ms / 1000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    let pair = |large: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{} {unit}", thousands(large)),
        _ => format!("{} {unit} {small} {small_unit}", thousands(large)),
    };
    match () {
        () if days > 0 => pair(days, "d", hours % 24, "h"),
        () if hours > 0 => pair(hours, "h", minutes % 60, "min"),
        () if minutes >= 10 => format!("{minutes} min"),
        () if minutes > 0 => pair(minutes, "min", seconds % 60, "s"),
        () if seconds >= 10 => format!("{seconds} s"),
        () if seconds > 0 => format!("{}.{} s", seconds, ms % 1000 / 100),
        () => format!("{ms} ms"),
    }
}

/// How long something took.
pub fn seconds(seconds: f64) -> String {
    // A negative or endless time saturates instead of failing.
    duration((seconds * 1000.0).round() as u64)
}

/// `7`, or `3–9` with both ends included.
pub fn span(span: Span) -> String {
    match span.len() {
        0 => format!("none at {}", span.from),
        1 => span.from.to_string(),
        _ => format!("{}–{}", span.from, span.until - 1),
    }
}

/// Sorted, with touching and overlapping ranges joined.
pub fn merge(mut spans: Vec<Span>) -> Vec<Span> {
    spans.retain(|span| !span.is_empty());
    spans.sort_by_key(|span| span.from);
    let mut merged: Vec<Span> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.from <= last.until => last.until = last.until.max(span.until),
            _ => merged.push(span),
        }
    }
    merged
}

/// `3, 7–9, 14 and 12 more runs`.
pub fn runs(merged: &[Span], limit: usize) -> String {
    let shown: Vec<String> = merged.iter().take(limit).map(|&run| span(run)).collect();
    match merged.len().saturating_sub(limit) {
        0 => shown.join(", "),
        more => format!("{} and {}", shown.join(", "), plural(more as u64, "more run")),
    }
}

/// `topic[partition]`, or the topic alone.
pub fn place(topic: &str, partition: Option<i32>) -> String {
    match partition {
        Some(partition) => format!("{}[{partition}]", visible(topic)),
        None => visible(topic).into_owned(),
    }
}

/// Foreign text made harmless: characters that steer a terminal, turn the direction of writing, break a line or may
/// not stand in XML are shown as escapes.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_hidden(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn is_hidden(c: char) -> bool {
    let is_direction = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || is_direction || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// At most `max` characters, the middle left out; both ends of an identifier tell most.
pub fn shorten(text: &str, max: usize) -> String {
    let text = visible(text);
    let length = text.chars().count();
    if length <= max {
        return text.into_owned();
    }
    let head = max.saturating_sub(1).div_ceil(2);
    let tail = max.saturating_sub(1) - head;
    text.chars().take(head).chain(['…']).chain(text.chars().skip(length - tail)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_have_separators_and_ranges_include_both_ends() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(plural(1, "record"), "1 record");
        assert_eq!(span(Span::new(3, 10)), "3–9");
        assert_eq!(span(Span::new(3, 4)), "3");
        assert_eq!(span(Span::new(3, 3)), "none at 3");
    }

    #[test]
    fn a_cause_is_said_once() {
        let quoted = anyhow::anyhow!("the disk is full").context("writing a: the disk is full; make room");
        assert_eq!(causes(&quoted.context("saving")), "saving: writing a: the disk is full; make room");
        assert_eq!(causes(&anyhow::anyhow!("c").context("b").context("a")), "a: b: c");
    }

    #[test]
    fn only_the_whole_is_a_hundred_percent() {
        assert_eq!(percent(999_999, 1_000_000), "99.9 %");
        assert_eq!(percent(0, 0), "100 %");
        assert_eq!(percent(1, 8), "12.5 %");
    }

    #[test]
    fn times_keep_the_two_units_that_matter() {
        assert_eq!(duration(350), "350 ms");
        assert_eq!(duration(4_250), "4.2 s");
        assert_eq!(duration(90_000), "1 min 30 s");
        assert_eq!(duration(12 * 60_000 + 5_000), "12 min");
        assert_eq!(duration(3 * 3_600_000 + 20 * 60_000), "3 h 20 min");
        assert_eq!(duration(50 * 3_600_000), "2 d 2 h");
        assert_eq!(ago(1_000, 61_000), "1 min ago");
        assert_eq!(ago(61_000, 1_000), "1 min ahead");
        assert_eq!(seconds(f64::NAN), "0 ms");
        assert_eq!(seconds(-1.0), "0 ms");
    }

    #[test]
    fn impossible_record_times_are_shown_as_they_are() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(LAST_MS as i64), "9999-12-31T23:59:59Z");
        assert_eq!(utc(-1), "time -1 ms");
        assert_eq!(utc(i64::MAX), "time 9223372036854775807 ms");
        assert!(ago(i64::MIN, i64::MAX).ends_with(" ago"));
    }

    #[test]
    fn sizes_round_into_the_next_unit() {
        assert_eq!(bytes(812), "812 B");
        assert_eq!(bytes(999_960), "1.0 MB");
        assert_eq!(bytes(4_200_000), "4.2 MB");
    }

    #[test]
    fn long_text_keeps_both_ends() {
        assert_eq!(shorten("abcdefghij", 5), "ab…ij");
        assert_eq!(shorten("abc", 5), "abc");
    }

    proptest! {
        #[test]
        fn nothing_that_steers_a_terminal_survives(text in any::<String>()) {
            prop_assert!(!visible(&text).chars().any(is_hidden));
        }

        #[test]
        fn text_without_such_characters_is_untouched(text in "[ -~äöü–]*") {
            prop_assert_eq!(visible(&text), text.as_str());
        }

        #[test]
        fn merged_ranges_hold_exactly_the_same_numbers(pairs in prop::collection::vec((0i64..60, 0i64..8), 0..20)) {
            let spans: Vec<Span> = pairs.iter().map(|&(from, len)| Span::new(from, from + len)).collect();
            let merged = merge(spans.clone());
            let holds = |spans: &[Span], n: i64| spans.iter().any(|s| s.from <= n && n < s.until);
            for n in 0..70 {
                prop_assert_eq!(holds(&merged, n), holds(&spans, n));
            }
            prop_assert!(merged.windows(2).all(|pair| pair[0].until < pair[1].from));
        }
    }
}
