//! Times of silence, as people write them: `Sat-Sun`, `22:00-06:00`, `Mon-Fri 22:00-06:00 +02:00`, `until 2026-12-24`,
//! `until 2026-12-24T08:00 +01:00`. Times are UTC unless an offset is given; an offset does not follow summer time.

use std::time::UNIX_EPOCH;

use serde::Deserialize;

const MINUTE_MS: i64 = 60_000;
const DAY: i64 = 24 * 60;
const WEEK: i64 = 7 * DAY;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// 1970-01-01 was a Thursday.
const EPOCH_DAY: i64 = 3;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Window {
    Until(i64),
    Weekly {
        /// Minutes since Monday 00:00 of the window's own clock, `[from, until)`, the second possibly in the next week.
        spans: Vec<(i64, i64)>,
        offset_minutes: i64,
    },
}

impl Window {
    /// When the silence ends, if it is silent at `now_ms`. A window that never ends is asked again after a week.
    pub fn until(&self, now_ms: i64) -> Option<i64> {
        match self {
            Window::Until(until_ms) => (now_ms < *until_ms).then_some(*until_ms),
            Window::Weekly { spans, offset_minutes } => {
                let local = now_ms.div_euclid(MINUTE_MS) + offset_minutes + EPOCH_DAY * DAY;
                let week = local.div_euclid(WEEK) * WEEK;
                let start = local - week;
                let mut end = start;
                while end < start + WEEK {
                    let covering = spans
                        .iter()
                        .flat_map(|&(from, until)| [-WEEK, 0, WEEK].map(|shift| (from + shift, until + shift)));
                    let further = covering.filter(|&(from, until)| from <= end && end < until).map(|(_, until)| until);
                    match further.max() {
                        Some(further) => end = further,
                        None => break,
                    }
                }
                let ends_ms = (week + end - offset_minutes - EPOCH_DAY * DAY) * MINUTE_MS;
                (end > start).then_some(ends_ms)
            }
        }
    }
}

/// When the last of the windows that are silent now ends.
pub fn until(windows: &[Window], now_ms: i64) -> Option<i64> {
    windows.iter().filter_map(|window| window.until(now_ms)).max()
}

impl TryFrom<String> for Window {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse(&text).ok_or_else(|| {
            format!(
                "\"{text}\" is no time of silence; write it as in \"Sat-Sun\", \"22:00-06:00\", \
                 \"Mon-Fri 22:00-06:00 +02:00\" or \"until 2026-12-24T08:00 +01:00\""
            )
        })
    }
}

fn parse(text: &str) -> Option<Window> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let offset_minutes = match words.last().and_then(|last| offset(last)) {
        Some(minutes) => {
            words.pop();
            minutes
        }
        None => 0,
    };
    match words[..] {
        ["until", when] => moment(when).map(|ms| Window::Until(ms - offset_minutes * MINUTE_MS)),
        [days_or_times] => match days(days_or_times) {
            Some(days) => Some(weekly(&days, (0, DAY), offset_minutes)),
            None => Some(weekly(&[0, 1, 2, 3, 4, 5, 6], times(days_or_times)?, offset_minutes)),
        },
        [some_days, some_times] => Some(weekly(&days(some_days)?, times(some_times)?, offset_minutes)),
        _ => None,
    }
}

/// A window over midnight belongs to the day it begins on.
fn weekly(days: &[i64], (from, until): (i64, i64), offset_minutes: i64) -> Window {
    let until = if until <= from { until + DAY } else { until };
    let spans = days.iter().map(|day| (day * DAY + from, day * DAY + until)).collect();
    Window::Weekly { spans, offset_minutes }
}

fn offset(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "UTC") {
        return Some(0);
    }
    let sign = match text.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    time(&text[1..]).filter(|minutes| *minutes <= 14 * 60).map(|minutes| sign * minutes)
}

/// Local time as if it were UTC.
fn moment(text: &str) -> Option<i64> {
    let text = match text.len() {
        10 => format!("{text}T00:00:00"),
        16 => format!("{text}:00"),
        _ => text.to_owned(),
    };
    let time = humantime::parse_rfc3339_weak(&text).ok()?;
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

fn day(text: &str) -> Option<i64> {
    let name = text.to_ascii_lowercase();
    // Sat and Saturday alike.
    let full = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    (0..7).find(|&i| name == DAYS[i] || name == full[i]).map(|i| i as i64)
}

/// `Sat-Sun`, `Fri-Mon`, `Mon,Wed`.
fn days(text: &str) -> Option<Vec<i64>> {
    let mut all = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            Some((from, until)) => {
                let (from, until) = (day(from)?, day(until)?);
                all.extend((0..=(until - from).rem_euclid(7)).map(|n| (from + n) % 7));
            }
            None => all.push(day(part)?),
        }
    }
    Some(all)
}

fn times(text: &str) -> Option<(i64, i64)> {
    let (from, until) = text.split_once('-')?;
    Some((time(from).filter(|from| *from < DAY)?, time(until)?))
}

/// `06:00`, up to `24:00`.
fn time(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| if text.len() == 2 { text.parse::<u8>().ok().map(i64::from) } else { None };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (minutes < 60 && hours * 60 + minutes <= DAY).then_some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        let time = humantime::parse_rfc3339(text).unwrap();
        time.duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
    }

    fn ends(window: &str, now: &str) -> Option<String> {
        let window = Window::try_from(window.to_owned()).unwrap();
        let until = window.until(at(now))?;
        Some(humantime::format_rfc3339(UNIX_EPOCH + std::time::Duration::from_millis(until as u64)).to_string())
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    // 2026-11-28 is a Saturday.
    #[test]
    fn weekends_last_from_midnight_to_midnight() {
        assert_eq!(ends("Sat-Sun", "2026-11-27T23:59:59Z"), None);
        assert_eq!(ends("Sat-Sun", "2026-11-28T00:00:00Z"), some("2026-11-30T00:00:00Z"));
        assert_eq!(ends("Sat-Sun", "2026-11-30T00:00:00Z"), None);
        assert_eq!(ends("saturday,Sun +02:00", "2026-11-27T22:00:00Z"), some("2026-11-29T22:00:00Z"));
    }

    #[test]
    fn nights_go_over_midnight_and_belong_to_the_day_they_begin_on() {
        assert_eq!(ends("22:00-06:00", "2026-11-25T23:00:00Z"), some("2026-11-26T06:00:00Z"));
        assert_eq!(ends("22:00-06:00", "2026-11-25T05:59:00Z"), some("2026-11-25T06:00:00Z"));
        assert_eq!(ends("22:00-06:00", "2026-11-25T06:00:00Z"), None);
        assert_eq!(ends("Sun 22:00-06:00", "2026-11-30T03:00:00Z"), some("2026-11-30T06:00:00Z"));
        assert_eq!(ends("Mon 22:00-06:00", "2026-11-30T03:00:00Z"), None);
        assert_eq!(ends("22:00-06:00 -05:00", "2026-11-25T04:00:00Z"), some("2026-11-25T11:00:00Z"));
    }

    #[test]
    fn a_date_ends_once() {
        assert_eq!(ends("until 2026-12-24", "2026-11-25T00:00:00Z"), some("2026-12-24T00:00:00Z"));
        assert_eq!(ends("until 2026-12-24T08:00 +01:00", "2026-11-25T00:00:00Z"), some("2026-12-24T07:00:00Z"));
        assert_eq!(ends("until 2026-12-24", "2026-12-24T00:00:00Z"), None);
        assert!(ends("Mon-Sun", "2026-12-24T00:00:00Z").is_some());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["", "Caturday", "25:00-26:00", "22-06", "until", "until tomorrow", "Sat Sun", "22:00-06:00 +99:00", "+"]
        {
            assert!(Window::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
