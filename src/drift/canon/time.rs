//! Dates and times as PostgreSQL prints them with `DateStyle=ISO` and `TimeZone=UTC`, from ISO 8601 text or from a count
//! since 1970.

use std::io::Write as _;

use serde::{Deserialize, Serialize};

use super::{Canonical, Misfit};

/// What a plain number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "s" => Some(Unit::Seconds),
            "ms" => Some(Unit::Millis),
            "us" => Some(Unit::Micros),
            "ns" => Some(Unit::Nanos),
            _ => None,
        }
    }

    fn nanos(self) -> i128 {
        match self {
            Unit::Seconds => 1_000_000_000,
            Unit::Millis => 1_000_000,
            Unit::Micros => 1_000,
            Unit::Nanos => 1,
        }
    }
}

/// What becomes of digits of a second that a column cannot hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fractions {
    /// To microseconds half to even, and to the column's digits half away from 2000: PostgreSQL.
    #[default]
    Rounded,
    /// Half up both times: MySQL.
    HalfUp,
    /// MariaDB, and MySQL with `TIME_TRUNCATE_FRACTIONAL`.
    CutOff,
}

/// Digits of a second, and what becomes of others.
pub type Precision = (u8, Fractions);

const DAY: i128 = 86_400_000_000_000;
/// What Debezium writes for `infinity` and `-infinity`.
const INFINITY: i64 = 9_223_372_036_825_200_000;
const MINUS_INFINITY: i64 = -9_223_372_036_832_400_000;
/// 2000 in nanoseconds: PostgreSQL rounds away from it.
const ORIGIN: i128 = 946_684_800_000_000_000;

/// Days since 1970, a number or its digits, or text; a time of day that is not midnight does not fit.
pub fn date(text: &str, is_number: bool, out: &mut Vec<u8>) -> Result<Canonical, Misfit> {
    if let Some(special) = special(text) {
        out.extend_from_slice(special.as_bytes());
        return Ok(Canonical::Exact);
    }
    let compact = |text: &str| days_of(number(&text[..4])?, number(&text[4..6])?, number(&text[6..])?);
    // Eight digits in quotes are a date to every database, and no day of this or the next millennium by its number.
    let is_compact = !is_number && text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
    let days = match text.parse::<i64>() {
        Ok(_) if is_compact => compact(text).ok_or(Misfit::NoTime)?,
        Ok(days) => days,
        Err(_) => {
            let nanos = instant(text).ok_or(Misfit::NoTime)?;
            if nanos.rem_euclid(DAY) != 0 {
                return Err(Misfit::NoTime);
            }
            i64::try_from(nanos.div_euclid(DAY)).map_err(|_| Misfit::NoTime)?
        }
    };
    let era = write_date(days, out)?;
    out.extend_from_slice(era.as_bytes());
    Ok(Canonical::Exact)
}

/// Since midnight in `unit`, or text.
pub fn time(text: &str, unit: Unit, precision: Precision, out: &mut Vec<u8>) -> Result<Canonical, Misfit> {
    let nanos = match text.parse::<i64>() {
        Ok(count) => i128::from(count) * unit.nanos(),
        Err(_) => clock(text.strip_suffix('Z').unwrap_or(text)).ok_or(Misfit::NoTime)?,
    };
    if !(0..=DAY).contains(&nanos) {
        return Err(Misfit::NoTime);
    }
    let (micros, canonical) = narrow(nanos, precision);
    // Of one day at most.
    write_clock(micros as i64, out);
    Ok(canonical)
}

/// Since 1970 in `unit`, or text. Where the text has no zone it is UTC.
pub fn timestamp(
    text: &str,
    unit: Unit,
    precision: Precision,
    is_zoned: bool,
    out: &mut Vec<u8>,
) -> Result<Canonical, Misfit> {
    if let Some(special) = special(text) {
        out.extend_from_slice(special.as_bytes());
        return Ok(Canonical::Exact);
    }
    let nanos = match text.parse::<i64>() {
        Ok(INFINITY) => {
            out.extend_from_slice(b"infinity");
            return Ok(Canonical::Exact);
        }
        Ok(MINUS_INFINITY) => {
            out.extend_from_slice(b"-infinity");
            return Ok(Canonical::Exact);
        }
        Ok(count) => i128::from(count) * unit.nanos(),
        Err(_) => instant(text).ok_or(Misfit::NoTime)?,
    };
    let (micros, canonical) = narrow(nanos, precision);
    let day = DAY / 1_000;
    let (days, of_day) = match i64::try_from(micros) {
        Ok(micros) => (micros.div_euclid(day as i64), micros.rem_euclid(day as i64)),
        Err(_) => (i64::try_from(micros.div_euclid(day)).map_err(|_| Misfit::NoTime)?, micros.rem_euclid(day) as i64),
    };
    let era = write_date(days, out)?;
    out.push(b' ');
    write_clock(of_day, out);
    if is_zoned {
        out.extend_from_slice(b"+00");
    }
    out.extend_from_slice(era.as_bytes());
    Ok(canonical)
}

fn special(text: &str) -> Option<&'static str> {
    match text {
        "infinity" | "Infinity" | "+infinity" => Some("infinity"),
        "-infinity" | "-Infinity" => Some("-infinity"),
        _ => None,
    }
}

/// To microseconds at so many digits of a second. PostgreSQL rounds twice: the text to microseconds, half to even, and these
/// to the column's digits, half away from its year 2000.
fn narrow(nanos: i128, (digits, fractions): Precision) -> (i128, Canonical) {
    // Numbers of 64 bits are divided far faster, and most times lie between 1677 and 2262.
    if let Ok(nanos) = i64::try_from(nanos)
        && nanos % 10_i64.pow(9 - u32::from(digits.min(6))) == 0
    {
        return (i128::from(nanos / 1_000), Canonical::Exact);
    }
    let step = 10_i128.pow(9 - u32::from(digits.min(6)));
    let rest = nanos.rem_euclid(step);
    let canonical = if rest == 0 { Canonical::Exact } else { Canonical::Narrowed };
    if fractions == Fractions::CutOff {
        return ((nanos - rest) / 1_000, canonical);
    }
    let (micros, rest) = (nanos.div_euclid(1_000), nanos.rem_euclid(1_000));
    let is_half_up = fractions == Fractions::HalfUp;
    let micros = micros + i128::from(rest > 500 || (rest == 500 && (is_half_up || micros % 2 != 0)));
    let step = step / 1_000;
    let rest = micros.rem_euclid(step);
    let is_up = rest * 2 > step || (rest * 2 == step && (is_half_up || micros >= ORIGIN / 1_000));
    (micros - rest + if is_up { step } else { 0 }, canonical)
}

/// Nanoseconds since 1970 of `2024-02-03`, `2024-02-03T04:05:06.7+01:00`, also with a blank for the T, and with BC.
fn instant(text: &str) -> Option<i128> {
    let (text, is_bc) = match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let (date, rest) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, ""),
    };
    let (date, is_negative) = match date.strip_prefix('-') {
        Some(date) => (date, true),
        None => (date.strip_prefix('+').unwrap_or(date), false),
    };
    let mut parts = date.split('-');
    let (year, month, day) = (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
    if parts.next().is_some() {
        return None;
    }
    let year = if is_bc { 1 - year } else { year };
    let days = days_of(if is_negative { -year } else { year }, month, day)?;
    let (time, offset) = zone(rest)?;
    let clock = if time.is_empty() { 0 } else { clock(time)? };
    Some(i128::from(days) * DAY + clock - offset)
}

/// Splits a zone off and says its offset in nanoseconds.
fn zone(text: &str) -> Option<(&str, i128)> {
    if let Some(time) = text.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let Some(at) = text.rfind(['+', '-']) else { return Some((text, 0)) };
    let sign = if text.as_bytes()[at] == b'-' { -1 } else { 1 };
    let digits: String = text[at + 1..].chars().filter(|c| *c != ':').collect();
    if !matches!(digits.len(), 2 | 4 | 6) {
        return None;
    }
    let part = |at: usize| digits.get(at..at + 2).map_or(Some(0), number);
    let seconds = part(0)? * 3_600 + part(2)? * 60 + part(4)?;
    Some((text[..at].trim_end(), i128::from(sign * seconds) * 1_000_000_000))
}

/// Nanoseconds of `04:05`, `04:05:06`, `04:05:06.789`.
fn clock(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.split(':');
    let (hours, minutes) = (number(parts.next()?)?, number(parts.next()?)?);
    let seconds = parts.next().map_or(Some(0), number)?;
    if parts.next().is_some() || hours > 24 || minutes > 59 || seconds > 60 || fraction.len() > 9 {
        return None;
    }
    let mut nanos = 0_i64;
    for place in 0..9 {
        let digit = fraction.as_bytes().get(place).copied().unwrap_or(b'0');
        nanos = nanos * 10 + i64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    Some(i128::from(hours * 3_600 + minutes * 60 + seconds) * 1_000_000_000 + i128::from(nanos))
}

fn number(text: &str) -> Option<i64> {
    let is_number = !text.is_empty() && text.len() <= 6 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// Days since 1970 in the proleptic Gregorian calendar; year 0 is 1 BC. After Howard Hinnant's `days_from_civil`.
fn days_of(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) {
        return None;
    }
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// Year, month and day of a day since 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * of_era + of_era / 4 - of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Writes the date; what follows behind everything else in years before 1.
fn write_date(days: i64, out: &mut Vec<u8>) -> Result<&'static str, Misfit> {
    if days.unsigned_abs() > 400_000_000 {
        return Err(Misfit::OutOfRange);
    }
    let (year, month, day) = civil(days);
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    match year {
        0..10_000 => out.extend([two(year / 100), two(year % 100)].as_flattened()),
        // Writing into a vector does not fail.
        _ => write!(out, "{year}").map_err(|_| Misfit::OutOfRange)?,
    }
    for part in [month, day] {
        out.push(b'-');
        out.extend_from_slice(&two(part));
    }
    Ok(era)
}

/// Both digits of a number below a hundred.
fn two(number: i64) -> [u8; 2] {
    [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]
}

fn write_clock(micros: i64, out: &mut Vec<u8>) {
    let seconds = micros / 1_000_000;
    out.extend_from_slice(&two(seconds / 3_600));
    out.push(b':');
    out.extend_from_slice(&two(seconds / 60 % 60));
    out.push(b':');
    out.extend_from_slice(&two(seconds % 60));
    let mut fraction = (micros % 1_000_000) as u32;
    let mut place = 100_000;
    if fraction > 0 {
        out.push(b'.');
    }
    while fraction > 0 {
        out.push(b'0' + (fraction / place) as u8);
        fraction %= place;
        place /= 10;
    }
}

#[cfg(test)]
mod tests;
