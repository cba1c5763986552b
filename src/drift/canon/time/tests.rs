use super::*;

fn said(text: &str, unit: Unit, precision: u8, is_zoned: bool) -> String {
    let mut out = Vec::new();
    let canonical = timestamp(text, unit, (precision, Fractions::Rounded), is_zoned, &mut out).unwrap();
    String::from_utf8(out).unwrap() + if canonical == Canonical::Narrowed { "~" } else { "" }
}

/// As `SELECT '…'::timestamp(p)` says on PostgreSQL 15.
#[test]
fn timestamps_are_printed_as_the_server_does() {
    for (text, precision, expected) in [
        ("2024-01-01T00:00:00Z", 6, "2024-01-01 00:00:00"),
        ("2024-01-01 00:00:00.120", 6, "2024-01-01 00:00:00.12"),
        ("2024-02-29T23:59:59.9996", 3, "2024-03-01 00:00:00~"),
        ("2024-01-01T01:00:00+01:00", 6, "2024-01-01 00:00:00"),
        ("2024-01-01T01:00:00-0330", 6, "2024-01-01 04:30:00"),
        ("2024-01-01T01:02:03.123456789Z", 6, "2024-01-01 01:02:03.123457~"),
        ("2024-01-01T00:00:00.9994999", 3, "2024-01-01 00:00:01~"),
        ("2024-01-01T00:00:00.0000005", 6, "2024-01-01 00:00:00~"),
        ("2024-01-01T00:00:00.0000015", 6, "2024-01-01 00:00:00.000002~"),
        ("0044-03-15 12:00:00 BC", 6, "0044-03-15 12:00:00 BC"),
        ("12345-06-07 08:09", 6, "12345-06-07 08:09:00"),
        ("infinity", 6, "infinity"),
        ("1704067200123", 6, "2024-01-01 00:00:00.123"),
        ("-1", 3, "1969-12-31 23:59:59.999"),
        ("9223372036825200000", 6, "infinity"),
        ("-9223372036832400000", 6, "-infinity"),
    ] {
        assert_eq!(said(text, Unit::Millis, precision, false), expected, "{text}");
    }
    assert_eq!(said("1704067200123456", Unit::Micros, 6, true), "2024-01-01 00:00:00.123456+00");
}

/// As MariaDB 10.11 keeps `2024-01-01 00:00:00.7` in a `datetime`.
#[test]
fn mariadb_cuts_digits_off_and_mysql_rounds_half_up() {
    let with = |text: &str, digits, fractions| {
        let mut out = Vec::new();
        timestamp(text, Unit::Millis, (digits, fractions), false, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let narrowed = |text: &str, digits| with(text, digits, Fractions::CutOff);
    for (text, digits, rounded) in [
        ("2024-01-01T00:00:00.1234565", 6, "2024-01-01 00:00:00.123457"),
        ("2024-01-01T00:00:00.1234575", 6, "2024-01-01 00:00:00.123458"),
        ("1980-01-01T00:00:00.5", 0, "1980-01-01 00:00:01"),
    ] {
        assert_eq!(with(text, digits, Fractions::HalfUp), rounded);
    }
    assert_eq!(narrowed("2024-01-01T00:00:00.7", 0), "2024-01-01 00:00:00");
    assert_eq!(narrowed("1704067200999", 2), "2024-01-01 00:00:00.99");
    assert_eq!(narrowed("1969-12-31T23:59:59.999999999", 6), "1969-12-31 23:59:59.999999");
}

#[test]
fn what_is_no_time_is_refused() {
    for text in ["", "2024-13-01", "2024-02-30", "2023-02-29", "2024-01-01T25:00", "2024-01-01T00:61", "x"] {
        assert!(timestamp(text, Unit::Millis, (6, Fractions::Rounded), false, &mut Vec::new()).is_err(), "{text}");
    }
    assert!(date("2024-01-01T00:00:01", false, &mut Vec::new()).is_err(), "a date has no time of day");
}

#[test]
fn every_day_comes_back() {
    for days in (-1_000_000..1_000_000).step_by(37) {
        let (year, month, day) = civil(days);
        assert_eq!(days_of(year, month, day), Some(days), "{year}-{month}-{day}");
    }
    let mut out = Vec::new();
    date("19723", false, &mut out).unwrap();
    assert_eq!(out, b"2024-01-01");
    out.clear();
    date("20240229", false, &mut out).unwrap();
    assert_eq!(out, b"2024-02-29");
    for text in ["20241301", "20230229", "-9223372036854775808", "9223372036854775807"] {
        assert!(date(text, false, &mut out).is_err(), "{text}");
    }
}

/// Against the formatting machinery, and the division of wider numbers.
#[test]
fn dates_of_all_years_have_their_digits() {
    for days in (-1_000_000..5_000_000).step_by(1_009) {
        let (year, month, day) = civil(days);
        let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
        let mut out = Vec::new();
        date(&days.to_string(), true, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("{year:04}-{month:02}-{day:02}{era}"));
        // Far in the past and the future nanoseconds take more than 64 bits.
        let clock = days.rem_euclid(86_400);
        let (hours, minutes, seconds) = (clock / 3_600, clock / 60 % 60, clock % 60);
        let expected = format!("{year:04}-{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:02}{era}");
        assert_eq!(said(&(days * 86_400 + clock).to_string(), Unit::Seconds, 6, false), expected);
    }
}

#[test]
fn times_of_day() {
    for (text, unit, expected) in [
        ("24:00:00", Unit::Micros, "24:00:00"),
        ("01:02:03.500", Unit::Micros, "01:02:03.5"),
        ("3723500000", Unit::Micros, "01:02:03.5"),
        ("3723500", Unit::Millis, "01:02:03.5"),
    ] {
        let mut out = Vec::new();
        time(text, unit, (6, Fractions::Rounded), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{text}");
    }
}
