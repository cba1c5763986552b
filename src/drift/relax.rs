//! Differences that somebody has said are none: named, for one column each, and counted where they are let pass. Rows are
//! hashed strictly all the same, and forgiven only once they have been found to differ.

use std::borrow::Cow;
use std::str::FromStr;

use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::Sign;
use unicode_normalization::UnicodeNormalization as _;

use super::DriftError;
use super::canon::Type;
use super::canon::number::to_add;
use super::canon::time::Unit;
use super::history::{Content, History};
use super::shape::{Row, Shape};

/// `COLUMN=HOW`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relaxation {
    pub column: String,
    how: How,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum How {
    /// Normalization form C (Unicode Standard Annex 15).
    Nfc,
    /// Without blanks at the end.
    Rtrim,
    /// An empty text is null.
    EmptyIsNull,
    /// Without regard to case.
    CaseFold,
    /// Numbers that are no further apart.
    Tolerance(BigDecimal),
    /// Times down to this, the rest cut off.
    TruncateTo(Unit),
}

const KNOWN: &str = "nfc, rtrim, empty_is_null, case_fold, tolerance:NUMBER, truncate_to:s or truncate_to:ms";

impl FromStr for Relaxation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" relaxes nothing; expected COLUMN=HOW, where HOW is {KNOWN}");
        let (column, how) = text.rsplit_once('=').filter(|(column, _)| !column.is_empty()).ok_or_else(wrong)?;
        let how = match how.split_once(':').unwrap_or((how, "")) {
            ("nfc", "") => How::Nfc,
            ("rtrim", "") => How::Rtrim,
            ("empty_is_null", "") => How::EmptyIsNull,
            ("case_fold", "") => How::CaseFold,
            ("tolerance", number) => {
                let number = to_add(number).ok_or_else(wrong)?;
                if number.sign() == Sign::Minus {
                    return Err(wrong());
                }
                How::Tolerance(number)
            }
            ("truncate_to", "s") => How::TruncateTo(Unit::Seconds),
            ("truncate_to", "ms") => How::TruncateTo(Unit::Millis),
            _ => return Err(wrong()),
        };
        Ok(Self { column: column.to_owned(), how })
    }
}

impl Relaxation {
    fn fits(&self, ty: Type) -> bool {
        match self.how {
            How::Nfc | How::Rtrim | How::EmptyIsNull | How::CaseFold => matches!(ty, Type::Text | Type::Padded),
            How::Tolerance(_) => matches!(ty, Type::Integer | Type::Decimal(_) | Type::Single | Type::Double),
            How::TruncateTo(_) => matches!(ty, Type::Time(_) | Type::Timestamp(_) | Type::Instant(_)),
        }
    }

    fn text<'t>(&self, text: Cow<'t, str>) -> Option<Cow<'t, str>> {
        Some(match &self.how {
            How::Nfc => Cow::Owned(text.nfc().collect()),
            How::Rtrim => Cow::Owned(text.trim_end_matches(' ').to_owned()),
            How::EmptyIsNull if text.is_empty() => return None,
            How::CaseFold => Cow::Owned(text.to_lowercase()),
            How::TruncateTo(unit) => Cow::Owned(truncated(&text, *unit)),
            How::EmptyIsNull | How::Tolerance(_) => text,
        })
    }
}

/// The digits behind the second's point, cut off; what follows them stays.
fn truncated(text: &str, unit: Unit) -> String {
    let Some((before, rest)) = text.split_once('.') else { return text.to_owned() };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let kept = rest[..digits.min(if unit == Unit::Millis { 3 } else { 0 })].trim_end_matches('0');
    let point = if kept.is_empty() { "" } else { "." };
    format!("{before}{point}{kept}{}", &rest[digits..])
}

/// Those of one comparison, by the columns of its shape.
#[derive(Clone, Debug, Default)]
pub struct Relaxed<'s> {
    columns: Vec<(&'s str, Vec<&'s Relaxation>)>,
}

impl<'s> Relaxed<'s> {
    pub fn new(all: &'s [Relaxation], shape: &'s Shape) -> Result<Self, DriftError> {
        if all.is_empty() {
            return Ok(Self::default());
        }
        for relaxation in all {
            let column = shape.values.iter().find(|column| column.name == relaxation.column);
            let wrong = |why: String| DriftError::Pair(format!("--relax {}: {why}", relaxation.column));
            let column = column.ok_or_else(|| wrong("it is no compared column beside the key".to_owned()))?;
            if !relaxation.fits(column.ty) {
                return Err(wrong(format!("the column is {}, which has nothing of the kind", column.ty)));
            }
        }
        let of = |name: &str| all.iter().filter(|relaxation| relaxation.column == name).collect();
        Ok(Self { columns: shape.values.iter().map(|column| (column.name.as_str(), of(&column.name))).collect() })
    }

    /// The columns in which a row may be otherwise, where it may be so in all that differ.
    pub fn forgives(&self, expected: &Row, actual: &Row) -> Option<Vec<&'s str>> {
        let mut forgiven = Vec::new();
        for ((name, how), (ours, theirs)) in self.columns.iter().zip(expected.values.iter().zip(&actual.values)) {
            if ours == theirs {
                continue;
            }
            if !is_same(how, ours.as_deref(), theirs.as_deref()) {
                return None;
            }
            forgiven.push(*name);
        }
        Some(forgiven).filter(|forgiven| !forgiven.is_empty())
    }

    /// The same of any version that the row may be.
    pub fn forgives_any(&self, history: Option<&History>, actual: &Row) -> Option<Vec<&'s str>> {
        if self.columns.is_empty() {
            return None;
        }
        let (settled, open) = history?.allowed();
        settled.into_iter().chain(open).find_map(|version| match &version.content {
            Content::Row(expected) => self.forgives(expected, actual),
            Content::Deleted | Content::Unreadable(_) => None,
        })
    }
}

fn is_same(how: &[&Relaxation], ours: Option<&str>, theirs: Option<&str>) -> bool {
    let relaxed = |text: Option<&str>| -> Option<String> {
        let text = how.iter().try_fold(Cow::Borrowed(text?), |text, relaxation| relaxation.text(text));
        text.map(Cow::into_owned)
    };
    let (ours, theirs) = (relaxed(ours), relaxed(theirs));
    ours == theirs
        || how.iter().any(|relaxation| match (&relaxation.how, &ours, &theirs) {
            (How::Tolerance(most), Some(ours), Some(theirs)) => match (to_add(ours), to_add(theirs)) {
                (Some(a), Some(b)) => (a - b).abs() <= *most,
                _ => false,
            },
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::shape::Column;

    fn same(ty: Type, how: &[&str], ours: Option<&str>, theirs: Option<&str>) -> bool {
        let all: Vec<Relaxation> = how.iter().map(|how| format!("a={how}").parse().unwrap()).collect();
        let column = Column { name: "a".to_owned(), ty, is_nullable: true };
        let shape = Shape { values: vec![column], ..Shape::default() };
        let row = |text: Option<&str>| Row { keys: Vec::new(), values: vec![text.map(str::to_owned)] };
        Relaxed::new(&all, &shape).unwrap().forgives(&row(ours), &row(theirs)).is_some()
    }

    #[test]
    fn what_is_let_pass_and_what_is_not() {
        use Type::{Decimal, Double, Instant, Text, Timestamp};
        for (ty, how, ours, theirs, is_same) in [
            (Text, &["nfc"][..], Some("é"), Some("e\u{301}"), true),
            (Text, &["nfc"], Some("é"), Some("e"), false),
            (Text, &["rtrim"], Some("x  "), Some("x"), true),
            (Text, &["rtrim"], Some(" x"), Some("x"), false),
            (Text, &["rtrim"], Some("x\t"), Some("x"), false),
            (Text, &["empty_is_null"], Some(""), None, true),
            (Text, &["empty_is_null"], Some(" "), None, false),
            (Text, &["rtrim", "empty_is_null"], Some(" "), None, true),
            (Text, &["case_fold"], Some("STRASSE É"), Some("strasse é"), true),
            (Text, &["case_fold"], Some("a"), Some("b"), false),
            (Decimal(Some(2)), &["tolerance:0.01"], Some("10.00"), Some("10.01"), true),
            (Decimal(Some(2)), &["tolerance:0.01"], Some("10.00"), Some("10.02"), false),
            (Decimal(None), &["tolerance:1"], Some("NaN"), Some("1"), false),
            (Double, &["tolerance:0.001"], Some("1e-20"), Some("2e-20"), true),
            (Double, &["tolerance:0.001"], Some("1"), None, false),
            (Decimal(None), &["tolerance:0.001"], Some("1"), Some("1e200000000"), false),
            (
                Timestamp(6),
                &["truncate_to:ms"],
                Some("2026-01-01 00:00:00.1239"),
                Some("2026-01-01 00:00:00.123"),
                true,
            ),
            (
                Timestamp(6),
                &["truncate_to:ms"],
                Some("2026-01-01 00:00:00.124"),
                Some("2026-01-01 00:00:00.123"),
                false,
            ),
            (Instant(6), &["truncate_to:s"], Some("2026-01-01 00:00:00.9+00"), Some("2026-01-01 00:00:00+00"), true),
            (Instant(6), &["truncate_to:s"], Some("2026-01-01 00:00:01+00"), Some("2026-01-01 00:00:00+00"), false),
            (Text, &[], Some("a"), Some("b"), false),
        ] {
            assert_eq!(same(ty, how, ours, theirs), is_same, "{how:?} {ours:?} {theirs:?}");
            assert_eq!(same(ty, how, theirs, ours), is_same, "{how:?} {theirs:?} {ours:?}");
        }
    }

    #[test]
    fn what_relaxes_nothing_is_said() {
        for text in [
            "a",
            "=nfc",
            "a=loose",
            "a=tolerance:x",
            "a=tolerance:-1",
            "a=tolerance:1e999999999",
            "a=truncate_to:h",
            "a=nfc:1",
        ] {
            assert!(text.parse::<Relaxation>().unwrap_err().contains("expected COLUMN=HOW"), "{text}");
        }
        let shape = Shape {
            keys: Vec::new(),
            values: vec![Column { name: "n".to_owned(), ty: Type::Integer, is_nullable: true }],
            ..Shape::default()
        };
        for (text, said) in [("m=nfc", "no compared column"), ("n=nfc", "nothing of the kind")] {
            let all = [text.parse().unwrap()];
            assert!(Relaxed::new(&all, &shape).unwrap_err().to_string().contains(said));
        }
    }
}
