//! Numbers as a database prints them, from the source text: no digit goes through a float that does not have to.

use bigdecimal::BigDecimal;
use smallvec::SmallVec;

use super::{Canonical, Misfit};

/// Digits a number may have before it is refused: what PostgreSQL's numeric can hold.
const MOST_DIGITS: i64 = 131_072 + 16_383;

/// A decimal number as it was written: `digits` without point, the last of them at 10^−scale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal {
    pub is_negative: bool,
    digits: SmallVec<[u8; 40]>,
    scale: i64,
}

impl Decimal {
    /// `-12.50`, `1e2`, `+3`; nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let (is_negative, body) = match text.as_bytes() {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let end = body.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(body.len());
        let exponent: i64 = match body.get(end + 1..) {
            Some(text) => std::str::from_utf8(text).ok()?.parse().ok()?,
            None => 0,
        };
        let mut digits = SmallVec::new();
        let mut scale = None;
        for byte in &body[..end] {
            match byte {
                b'0'..=b'9' => {
                    digits.push(*byte);
                    scale = scale.map(|scale: i64| scale + 1);
                }
                b'.' if scale.is_none() => scale = Some(0),
                _ => return None,
            }
        }
        let scale = scale.unwrap_or(0).checked_sub(exponent)?;
        let is_usable = !digits.is_empty() && scale.abs() <= MOST_DIGITS && (digits.len() as i64) <= MOST_DIGITS;
        is_usable.then_some(Self { is_negative, digits, scale })
    }

    /// The digit that stands for 10^−place; 0 beyond the written ones.
    fn digit(&self, place: i64) -> u8 {
        let index = self.digits.len() as i64 - 1 - (self.scale - place);
        usize::try_from(index).ok().and_then(|index| self.digits.get(index)).copied().unwrap_or(b'0')
    }

    fn is_zero(&self) -> bool {
        self.digits.iter().all(|digit| *digit == b'0')
    }

    /// The smallest scale that loses nothing.
    pub fn least_scale(&self) -> i64 {
        let trailing = self.digits.iter().rev().take_while(|digit| **digit == b'0').count() as i64;
        if self.is_zero() { 0 } else { (self.scale - trailing).max(0) }
    }

    /// Rounded half away from zero, as PostgreSQL does. Says whether anything was lost.
    fn round(&mut self, scale: i64) -> bool {
        let excess = self.scale - scale;
        if excess <= 0 {
            return false;
        }
        let is_up = self.digit(scale + 1) >= b'5';
        let dropped = (excess as usize).min(self.digits.len());
        let kept = self.digits.len() - dropped;
        let is_lossy = self.digits[kept..].iter().any(|digit| *digit != b'0');
        self.digits.truncate(kept);
        self.scale = scale;
        if is_up {
            self.increment();
        }
        is_lossy
    }

    fn increment(&mut self) {
        for digit in self.digits.iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                return;
            }
            *digit = b'0';
        }
        self.digits.insert(0, b'1');
    }

    /// With exactly so many digits behind the point.
    pub fn write(&self, scale: i64, out: &mut Vec<u8>) {
        let whole = self.digits.len() as i64 - self.scale;
        if self.is_negative && !self.is_zero() {
            out.push(b'-');
        }
        let mut has_digit = false;
        for power in (0..whole.max(1)).rev() {
            let digit = self.digit(-power);
            has_digit |= digit != b'0';
            if has_digit {
                out.push(digit);
            }
        }
        if !has_digit {
            out.push(b'0');
        }
        if scale > 0 {
            out.push(b'.');
            out.extend((1..=scale).map(|place| self.digit(place)));
        }
    }
}

/// To be added up, as a database would take it: with a bound on its digits, so that no exponent of a few characters fills the memory.
pub fn to_add(text: &str) -> Option<BigDecimal> {
    let is_plain = text.len() <= 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-'));
    if !is_plain {
        Decimal::parse(text)?;
    }
    text.parse().ok()
}

/// A whole number: `1.0` and `1e2` are some, `1.5` is none.
pub fn integer(text: &str, out: &mut Vec<u8>) -> Result<Canonical, Misfit> {
    // What is printed the usual way already, is most of them.
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    if matches!(digits.first(), Some(b'1'..=b'9')) && digits.len() <= 19 && digits.iter().all(u8::is_ascii_digit) {
        out.extend_from_slice(text.as_bytes());
        return Ok(Canonical::Exact);
    }
    let number = Decimal::parse(text).ok_or(Misfit::NoNumber)?;
    if number.least_scale() > 0 {
        return Err(Misfit::NotWhole);
    }
    number.write(0, out);
    Ok(Canonical::Exact)
}

/// With `scale` digits behind the point, or with as few as it needs.
pub fn decimal(text: &str, scale: Option<u16>, out: &mut Vec<u8>) -> Result<Canonical, Misfit> {
    if scale.is_some_and(|scale| as_written(text, usize::from(scale), out)) {
        return Ok(Canonical::Exact);
    }
    if let Some(special) = special(text) {
        out.extend_from_slice(special.as_bytes());
        return Ok(Canonical::Exact);
    }
    let mut number = Decimal::parse(text).ok_or(Misfit::NoNumber)?;
    match scale {
        None => number.write(number.least_scale(), out),
        Some(scale) => {
            let is_narrowed = number.round(i64::from(scale));
            number.write(i64::from(scale), out);
            if is_narrowed {
                return Ok(Canonical::Narrowed);
            }
        }
    }
    Ok(Canonical::Exact)
}

/// Most numbers are written as they are printed, but for zeros behind the last digit. False where it is another one.
fn as_written(text: &str, scale: usize, out: &mut Vec<u8>) -> bool {
    let point = text.bytes().position(|byte| byte == b'.');
    let (whole, fraction) = point.map_or((text, ""), |at| (&text[..at], &text[at + 1..]));
    let is_usual = match whole.as_bytes() {
        b"0" => true,
        [b'1'..=b'9', rest @ ..] | [b'-', b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !is_usual || whole.len() > 40 || fraction.len() > scale || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    out.extend_from_slice(whole.as_bytes());
    if scale > 0 {
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
        out.resize(out.len() + scale - fraction.len(), b'0');
    }
    true
}

/// A number inside `jsonb`: with the digits it was written with.
pub fn in_json(text: &str, out: &mut Vec<u8>) -> Result<Canonical, Misfit> {
    let number = Decimal::parse(text).ok_or(Misfit::NoNumber)?;
    number.write(number.scale.max(0), out);
    Ok(Canonical::Exact)
}

pub fn special(text: &str) -> Option<&'static str> {
    let is_number = matches!(text.as_bytes().first(), Some(b'0'..=b'9')) || text.len() < 3;
    if is_number {
        return None;
    }
    match text.to_ascii_lowercase().as_str() {
        "nan" => Some("NaN"),
        "infinity" | "inf" | "+infinity" | "+inf" => Some("Infinity"),
        "-infinity" | "-inf" => Some("-Infinity"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(write: impl FnOnce(&mut Vec<u8>) -> Result<Canonical, Misfit>) -> Result<(String, bool), Misfit> {
        let mut out = Vec::new();
        let canonical = write(&mut out)?;
        Ok((String::from_utf8(out).unwrap(), canonical == Canonical::Narrowed))
    }

    fn exact(text: &str) -> Result<(String, bool), Misfit> {
        Ok((text.to_owned(), false))
    }

    #[test]
    fn a_number_is_one_that_a_database_holds() {
        for (text, is_one) in [
            ("-12.50", true),
            ("1e100", true),
            ("1e200000000", false),
            ("1e-999999999999", false),
            ("1_000", false),
            ("", false),
        ] {
            assert_eq!(to_add(text).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn whole_numbers_keep_every_digit() {
        for (text, expected) in [
            ("0", "0"),
            ("-0", "0"),
            ("007", "7"),
            ("1e2", "100"),
            ("12.00", "12"),
            ("1200e-2", "12"),
            ("9007199254740993", "9007199254740993"),
            ("-9223372036854775808", "-9223372036854775808"),
        ] {
            assert_eq!(said(|out| integer(text, out)), exact(expected), "{text}");
        }
        assert_eq!(said(|out| integer("1.5", out)), Err(Misfit::NotWhole));
        for text in ["", "-", "1x", "1e", ".", "1.2.3", "1e99999999999", "0x10"] {
            assert!(said(|out| integer(text, out)).is_err(), "{text}");
        }
    }

    /// As PostgreSQL prints `numeric(…, 2)` and `trim_scale(numeric)`.
    #[test]
    fn decimals_have_the_columns_scale() {
        for (text, scaled, free) in [
            ("10", "10.00", "10"),
            ("10.5", "10.50", "10.5"),
            ("-0.004", "0.00", "-0.004"),
            ("0.005", "0.01", "0.005"),
            ("-0.005", "-0.01", "-0.005"),
            ("99.995", "100.00", "99.995"),
            ("1e3", "1000.00", "1000"),
            ("12345678901.230", "12345678901.23", "12345678901.23"),
            ("NaN", "NaN", "NaN"),
        ] {
            assert_eq!(said(|out| decimal(text, Some(2), out)).unwrap().0, scaled, "{text}");
            assert_eq!(said(|out| decimal(text, None, out)), exact(free), "{text}");
        }
        assert!(said(|out| decimal("0.005", Some(2), out)).unwrap().1, "a digit was lost");
        assert!(!said(|out| decimal("0.500", Some(2), out)).unwrap().1, "zeros are none");
    }

    proptest::proptest! {
        /// The oracle goes digit by digit.
        #[test]
        fn what_is_copied_is_what_is_computed(text in "-?(0|[1-9][0-9]{0,12}|0[0-9]{1,3})([.][0-9]{0,6})?(e[0-9])?", scale in 0..8_u16) {
            let mut number = Decimal::parse(&text).unwrap();
            let is_narrowed = number.round(i64::from(scale));
            let expected = said(|out| {
                number.write(i64::from(scale), out);
                Ok(if is_narrowed { Canonical::Narrowed } else { Canonical::Exact })
            });
            proptest::prop_assert_eq!(said(|out| decimal(&text, Some(scale), out)), expected);
        }
    }

    #[test]
    fn a_number_in_json_keeps_its_zeros() {
        for (text, expected) in
            [("1e2", "100"), ("2.50", "2.50"), ("2.50e1", "25.0"), ("-0.0", "0.0"), ("1e-2", "0.01")]
        {
            assert_eq!(said(|out| in_json(text, out)), exact(expected), "{text}");
        }
    }
}
