//! Floats as PostgreSQL prints them with `extra_float_digits=1`: the shortest text that reads back as the same float.

use bigdecimal::{BigDecimal, FromPrimitive as _};

use super::number::{Decimal, special};
use super::{Canonical, Misfit};

/// `-0` is `0`.
pub fn float(text: &str, is_single: bool, out: &mut Vec<u8>) -> Result<Canonical, Misfit> {
    if let Some(special) = special(text) {
        out.extend_from_slice(special.as_bytes());
        return Ok(Canonical::Exact);
    }
    Decimal::parse(text).ok_or(Misfit::NoNumber)?;
    let (shortest, digits) = match is_single {
        true => (single(text), 6),
        false => (double(text), 15),
    };
    let shortest = shortest.ok_or(Misfit::NoNumber)?;
    let (mantissa, exponent) = shortest.split_once('e').ok_or(Misfit::OutOfRange)?;
    let exponent: i64 = exponent.parse().map_err(|_| Misfit::OutOfRange)?;
    if mantissa.contains("inf") {
        return Err(Misfit::OutOfRange);
    }
    // Where C's %g changes to the exponent's form.
    if (-4..digits).contains(&exponent) {
        let number = Decimal::parse(&shortest).ok_or(Misfit::NoNumber)?;
        number.write(number.least_scale(), out);
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        out.extend_from_slice(format!("{mantissa}e{sign}{:02}", exponent.abs()).as_bytes());
    }
    Ok(Canonical::Exact)
}

/// A decimal number of so few digits lies exactly between two floats only where these are whole, or nearly so, and not too large.
const BETWEEN: std::ops::Range<f64> = 4_194_304.0..1e45;

fn single(text: &str) -> Option<String> {
    let float = text.parse::<f32>().ok()? + 0.0;
    let shortest = format!("{float:e}");
    if !BETWEEN.contains(&f64::from(float.abs())) {
        return Some(shortest);
    }
    let neighbours = [float.next_down(), float.next_up()].map(f64::from);
    let is_same = |text: &str| text.parse::<f32>() == Ok(float);
    Some(between_no_two(shortest, f64::from(float), neighbours, is_same, |digits| format!("{float:.digits$e}")))
}

fn double(text: &str) -> Option<String> {
    let float = text.parse::<f64>().ok()? + 0.0;
    let shortest = format!("{float:e}");
    if !BETWEEN.contains(&float.abs()) {
        return Some(shortest);
    }
    let neighbours = [float.next_down(), float.next_up()];
    let is_same = |text: &str| text.parse::<f64>() == Ok(float);
    Some(between_no_two(shortest, float, neighbours, is_same, |digits| format!("{float:.digits$e}")))
}

/// A text exactly between two floats reads as the even one of them. Rust prints it then, PostgreSQL takes the next longer text
/// (its Ryu keeps inside of the interval, whoever reads it).
fn between_no_two(
    shortest: String,
    float: f64,
    neighbours: [f64; 2],
    is_same: impl Fn(&str) -> bool,
    with_digits: impl Fn(usize) -> String,
) -> String {
    let exact = |float: f64| BigDecimal::from_f64(float);
    let is_between = |text: &str| {
        let twice = text.parse::<BigDecimal>().ok().map(|number| number * 2);
        neighbours.iter().any(|other| {
            let sum = exact(float).zip(exact(*other)).map(|(a, b)| a + b);
            sum.is_some() && sum == twice
        })
    };
    if !is_between(&shortest) {
        return shortest;
    }
    let fewest = shortest.bytes().take_while(|byte| *byte != b'e').filter(u8::is_ascii_digit).count();
    // So many digits tell every float.
    let longer = (fewest..17).map(with_digits).find(|text| is_same(text) && !is_between(text));
    longer.unwrap_or(shortest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(write: impl FnOnce(&mut Vec<u8>) -> Result<Canonical, Misfit>) -> Result<String, Misfit> {
        let mut out = Vec::new();
        write(&mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    /// Answers of PostgreSQL 15.18.
    #[test]
    fn no_text_lies_between_two_floats() {
        for (text, is_single, expected) in [
            ("8.5e9", true, "8.4999997e+09"),
            ("1e23", false, "9.999999999999999e+22"),
            ("-1e23", false, "-9.999999999999999e+22"),
            ("9007199254740993", false, "9.007199254740992e+15"),
            ("16777216", true, "1.6777216e+07"),
            ("1e22", false, "1e+22"),
        ] {
            assert_eq!(said(|out| float(text, is_single, out)), Ok(expected.to_owned()), "{text}");
        }
    }

    /// Answers of PostgreSQL 15.18.
    #[test]
    fn floats_are_printed_as_the_server_does() {
        for (text, expected) in [
            ("1e14", "100000000000000"),
            ("1e15", "1e+15"),
            ("123456789012345678", "1.2345678901234568e+17"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1.5e300", "1.5e+300"),
            ("-0.0", "0"),
            ("1e-20", "1e-20"),
            ("123456.789", "123456.789"),
        ] {
            assert_eq!(said(|out| float(text, false, out)), Ok(expected.to_owned()), "{text}");
        }
        for (text, expected) in [
            ("1e5", "100000"),
            ("1e6", "1e+06"),
            ("1234567", "1.234567e+06"),
            ("0.1", "0.1"),
            ("16777216", "1.6777216e+07"),
        ] {
            assert_eq!(said(|out| float(text, true, out)), Ok(expected.to_owned()), "{text}");
        }
        assert_eq!(said(|out| float("1e400", false, out)), Err(Misfit::OutOfRange));
    }
}
