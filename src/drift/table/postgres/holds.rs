//! What a column's type holds. To be asked for a value that it does not hold is an error to the server, which ends the
//! transaction and its snapshot; a cast to a length cuts off silently what is longer.

/// Whether a column of this type, as `format_type` names it, can hold the value with this canonical text.
pub fn holds(sql_type: &str, text: &str) -> bool {
    let (name, modifier) = sql_type.split_once('(').unwrap_or((sql_type, ""));
    match name {
        "smallint" => text.parse::<i16>().is_ok(),
        "integer" => text.parse::<i32>().is_ok(),
        "bigint" => text.parse::<i64>().is_ok(),
        "numeric" => digits(modifier).is_none_or(|digits| is_within(text, digits)),
        "character varying" | "character" => is_short(text, modifier) && !text.contains('\0'),
        "text" | "name" => !text.contains('\0'),
        "date" => !is_before(text, 4_713) && !is_after(text, 5_874_897),
        _ if name.starts_with("timestamp") => !is_before(text, 4_713) && !is_after(text, 294_276),
        _ => true,
    }
}

/// Without the length: what is longer equals no value of the column, and is refused when it is to be stored.
pub fn cast(sql_type: &str) -> &str {
    match sql_type.split_once('(') {
        Some(("character varying", _)) => "character varying",
        Some(("character", _)) => "bpchar",
        _ => sql_type,
    }
}

/// Before the point, of `numeric(12,2)`'s `12,2)`.
fn digits(modifier: &str) -> Option<i64> {
    let (precision, scale) = modifier.strip_suffix(')')?.split_once(',')?;
    Some(precision.parse::<i64>().ok()? - scale.parse::<i64>().ok()?)
}

fn is_within(text: &str, digits: i64) -> bool {
    let number = text.strip_prefix('-').unwrap_or(text);
    let whole = number.split_once('.').map_or(number, |(whole, _)| whole).trim_start_matches('0');
    text == "NaN" || (whole.bytes().all(|byte| byte.is_ascii_digit()) && whole.len() as i64 <= digits.max(0))
}

fn is_short(text: &str, modifier: &str) -> bool {
    let most = modifier.split(')').next().and_then(|most| most.parse().ok());
    most.is_none_or(|most: usize| text.trim_end_matches(' ').chars().count() <= most)
}

fn year(text: &str) -> Option<i64> {
    text.split('-').next()?.parse().ok()
}

fn is_before(text: &str, most: i64) -> bool {
    text.ends_with(" BC") && year(text).is_some_and(|year| year > most)
}

fn is_after(text: &str, most: i64) -> bool {
    !text.ends_with(" BC") && year(text).is_some_and(|year| year > most)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What PostgreSQL 15.18 casts, and what it does not.
    #[test]
    fn a_type_holds_what_it_can_print() {
        for (sql_type, held, others) in [
            ("smallint", &["-32768", "7"][..], &["32768"][..]),
            ("integer", &["2147483647"], &["5000000000", "-2147483649"]),
            ("bigint", &["-9223372036854775808"], &["9223372036854775808"]),
            ("numeric", &["1e400", "Infinity", "12345678901234567890.5"], &[]),
            ("numeric(5,2)", &["999.99", "-999.99", "0.10", "NaN"], &["1000.00", "-1000.00", "Infinity"]),
            ("numeric(2,2)", &["0.99"], &["1.00"]),
            ("character varying(3)", &["äöü", ""], &["abcd"]),
            ("character varying", &["a\u{1}"], &["a\0"]),
            ("character(3)", &["abc", "ab "], &["abcd"]),
            ("text", &["a"], &["\0"]),
            ("date", &["2024-01-01", "infinity", "4713-01-01 BC"], &["4714-12-31 BC", "5874898-01-01"]),
            ("timestamp(3) with time zone", &["294276-01-01 00:00:00+00"], &["294277-01-01 00:00:00+00"]),
            ("uuid", &["x"], &[]),
        ] {
            held.iter().for_each(|text| assert!(holds(sql_type, text), "{sql_type} {text}"));
            others.iter().for_each(|text| assert!(!holds(sql_type, text), "{sql_type} {text}"));
        }
    }

    #[test]
    fn a_cast_cuts_nothing_off() {
        assert_eq!([cast("character varying(3)"), cast("character(5)")], ["character varying", "bpchar"]);
        assert_eq!([cast("numeric(10,2)"), cast("\"a(b\"")], ["numeric(10,2)", "\"a(b\""]);
    }
}
