//! A law as it is written: `sum(amount) by currency, day(created_at)`, `sum(debit) - sum(credit) by account = 0`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::drift::DriftError;
use crate::drift::canon::Type;
use crate::drift::shape::Shape;

/// What must be the same in both stores, or zero in each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Law {
    /// As it was written.
    pub text: String,
    terms: Vec<(Sign, Measure)>,
    groups: Vec<(String, Option<Cut>)>,
    is_zero: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    Plus,
    Minus,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Measure {
    Rows,
    Sum(String),
}

/// The part of a time that a group goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Year,
    Month,
    Day,
    Hour,
}

impl Cut {
    const ALL: [Cut; 4] = [Cut::Year, Cut::Month, Cut::Day, Cut::Hour];

    /// As PostgreSQL's `date_trunc` calls it, too.
    pub fn name(self) -> &'static str {
        match self {
            Cut::Year => "year",
            Cut::Month => "month",
            Cut::Day => "day",
            Cut::Hour => "hour",
        }
    }

    /// Of the canonical text of a date or a timestamp; what is no such text stays as it is (`infinity`).
    pub fn of(self, text: &str) -> Cow<'_, str> {
        let date = text.split(' ').next().unwrap_or(text);
        let parts = date.match_indices('-').map(|(at, _)| at).collect::<smallvec::SmallVec<[usize; 2]>>();
        let [year, month] = parts.as_slice() else { return Cow::Borrowed(text) };
        let kept = match self {
            Cut::Year => &text[..*year],
            Cut::Month => &text[..*month],
            Cut::Day => date,
            // "2026-11-28 04" of "2026-11-28 04:05:06".
            Cut::Hour => text.get(..date.len() + 3).unwrap_or(date),
        };
        if text.ends_with(" BC") { Cow::Owned(format!("{kept} BC")) } else { Cow::Borrowed(kept) }
    }
}

/// A law over the columns of two stores, by their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    pub text: String,
    /// What is summed up, for people: the law without its groups.
    pub of: String,
    /// Rows are counted where no column is named.
    pub terms: Vec<(Sign, Option<usize>)>,
    pub groups: Vec<(usize, Option<Cut>)>,
    /// As they are written.
    pub names: Vec<String>,
    pub is_zero: bool,
}

impl Law {
    /// Whether it holds for all rows only.
    pub fn is_zero(&self) -> bool {
        self.is_zero
    }

    /// Finds the columns, keys first.
    pub fn bind(&self, shape: &Shape) -> Result<Bound, DriftError> {
        let wrong = |why: String| DriftError::Pair(format!("--conserve \"{}\": {why}", self.text));
        let find = |name: &String| {
            let known = || shape.columns().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
            let place = shape.columns().position(|column| column.name == *name);
            place.ok_or_else(|| wrong(format!("there is no column \"{name}\" among those compared: {}", known())))
        };
        let ty = |place: usize| shape.columns().nth(place).map_or(Type::Text, |column| column.ty);
        let mut terms = Vec::new();
        for (sign, measure) in &self.terms {
            let place = match measure {
                Measure::Rows => None,
                Measure::Sum(name) => Some((find(name)?, name)),
            };
            if let Some((place, name)) = place
                && !matches!(ty(place), Type::Integer | Type::Decimal(_))
            {
                let why = "only whole and decimal numbers have sums that do not depend on the order of adding";
                return Err(wrong(format!("column \"{name}\" is {}: {why}", ty(place))));
            }
            terms.push((*sign, place.map(|(place, _)| place)));
        }
        let mut groups = Vec::new();
        for (name, cut) in &self.groups {
            let place = find(name)?;
            let is_time = matches!(ty(place), Type::Date | Type::Timestamp(_) | Type::Instant(_));
            if let Some(cut) = cut.filter(|_| !is_time) {
                return Err(wrong(format!("column \"{name}\" is {}, which has no {}", ty(place), cut.name())));
            }
            if matches!(ty(place), Type::Single | Type::Double) {
                return Err(wrong(format!("column \"{name}\" is {}: group by something else", ty(place))));
            }
            groups.push((place, *cut));
        }
        let names =
            self.groups.iter().map(|(name, cut)| cut.map_or(name.clone(), |cut| format!("{}({name})", cut.name())));
        Ok(Bound {
            text: self.text.clone(),
            of: self.sums(),
            terms,
            groups,
            names: names.collect(),
            is_zero: self.is_zero,
        })
    }

    fn sums(&self) -> String {
        let mut said = String::new();
        for (index, (sign, measure)) in self.terms.iter().enumerate() {
            said += match (index, sign) {
                (0, Sign::Plus) => "",
                (0, Sign::Minus) => "-",
                (_, Sign::Plus) => " + ",
                (_, Sign::Minus) => " - ",
            };
            match measure {
                Measure::Rows => said += "count(*)",
                Measure::Sum(name) => said += &format!("sum({name})"),
            }
        }
        said
    }
}

/// All of them.
pub fn bind(laws: &[Law], shape: &Shape) -> Result<Vec<Bound>, DriftError> {
    laws.iter().map(|law| law.bind(shape)).collect()
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{text}\": expected {expected}{}; write for example 'sum(amount) by currency, day(created_at)' or 'sum(debit) - sum(credit) by account = 0'",
    found(.at)
)]
pub struct LawError {
    text: String,
    expected: &'static str,
    /// What stands there instead.
    at: String,
}

fn found(at: &str) -> String {
    if at.is_empty() { " at its end".to_owned() } else { format!(" before \"{at}\"") }
}

impl FromStr for Law {
    type Err = LawError;

    fn from_str(text: &str) -> Result<Self, LawError> {
        let mut words = Words { rest: text };
        let law = words.law().map_err(|expected| LawError {
            text: text.to_owned(),
            expected,
            at: words.rest.trim_start().to_owned(),
        })?;
        Ok(Law { text: text.trim().to_owned(), ..law })
    }
}

struct Words<'t> {
    rest: &'t str,
}

/// What was expected.
type Expected = &'static str;

impl Words<'_> {
    fn law(&mut self) -> Result<Law, Expected> {
        let first = if self.take("-") { Sign::Minus } else { Sign::Plus };
        let mut terms = vec![(first, self.measure()?)];
        loop {
            let sign = match (self.take("+"), self.take("-")) {
                (true, _) => Sign::Plus,
                (_, true) => Sign::Minus,
                _ => break,
            };
            terms.push((sign, self.measure()?));
        }
        let mut groups = Vec::new();
        if self.keyword("by") {
            groups.push(self.group()?);
            while self.take(",") {
                groups.push(self.group()?);
            }
        }
        let is_zero = self.take("=");
        if is_zero && !self.take("0") {
            return Err("0, the only number a law can demand,");
        }
        match self.rest.trim_start() {
            "" => Ok(Law { text: String::new(), terms, groups, is_zero }),
            _ if is_zero => Err("nothing more"),
            _ if groups.is_empty() => Err("+, -, by or = 0"),
            _ => Err("a comma or = 0"),
        }
    }

    fn measure(&mut self) -> Result<Measure, Expected> {
        if self.keyword("count") {
            self.must("(", "(*)")?;
            self.take("*");
            self.must(")", ")")?;
            return Ok(Measure::Rows);
        }
        if !self.keyword("sum") {
            return Err("sum(COLUMN) or count(*)");
        }
        self.must("(", "(")?;
        let column = self.column()?;
        self.must(")", ")")?;
        Ok(Measure::Sum(column))
    }

    fn group(&mut self) -> Result<(String, Option<Cut>), Expected> {
        let before = self.rest;
        if let Some(cut) = Cut::ALL.into_iter().find(|cut| self.keyword(cut.name())) {
            if self.take("(") {
                let column = self.column()?;
                self.must(")", ")")?;
                return Ok((column, Some(cut)));
            }
            // A column may be called so.
            self.rest = before;
        }
        Ok((self.column()?, None))
    }

    fn column(&mut self) -> Result<String, Expected> {
        let text = self.rest.trim_start();
        if let Some(quoted) = text.strip_prefix('"') {
            let (name, rest) = quoted.split_once('"').ok_or("the other quotation mark")?;
            self.rest = rest;
            return Ok(name.to_owned());
        }
        let end = text.find(|c: char| !is_name(c)).unwrap_or(text.len());
        if end == 0 {
            return Err("the name of a column");
        }
        self.rest = &text[end..];
        Ok(text[..end].to_owned())
    }

    fn take(&mut self, sign: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn must(&mut self, sign: &str, expected: Expected) -> Result<(), Expected> {
        if self.take(sign) { Ok(()) } else { Err(expected) }
    }

    /// In any case, as SQL has it.
    fn keyword(&mut self, word: &str) -> bool {
        let text = self.rest.trim_start();
        let is_it = text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word));
        if is_it && !text[word.len()..].starts_with(is_name) {
            self.rest = &text[word.len()..];
            return true;
        }
        false
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::shape::Column;

    fn shape() -> Shape {
        let column = |name: &str, ty| Column { name: name.to_owned(), ty, is_nullable: true };
        Shape {
            keys: vec![column("id", Type::Integer)],
            values: vec![
                column("amount", Type::Decimal(Some(2))),
                column("Fee", Type::Decimal(None)),
                column("rate", Type::Double),
                column("currency", Type::Text),
                column("at", Type::Instant(6)),
                column("day", Type::Date),
            ],
            ..Shape::default()
        }
    }

    fn bound(text: &str) -> Result<Bound, String> {
        let law: Law = text.parse().map_err(|error: LawError| error.to_string())?;
        law.bind(&shape()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_law_names_columns_and_groups() {
        let law = bound("sum(amount) by currency, day(at)").unwrap();
        assert_eq!(law.terms, [(Sign::Plus, Some(1))]);
        assert_eq!(law.groups, [(4, None), (5, Some(Cut::Day))]);
        assert_eq!((law.of.as_str(), law.names.join("; ").as_str()), ("sum(amount)", "currency; day(at)"));
        assert!(!law.is_zero);
        let law = bound(" SUM( amount )-sum(\"Fee\") + count(*) BY day, hour ( at ) =0 ").unwrap();
        assert_eq!(law.terms, [(Sign::Plus, Some(1)), (Sign::Minus, Some(2)), (Sign::Plus, None)]);
        assert_eq!(law.groups, [(6, None), (5, Some(Cut::Hour))]);
        assert_eq!(law.of, "sum(amount) - sum(Fee) + count(*)");
        assert!(law.is_zero);
        assert_eq!(bound("-sum(amount)").unwrap().groups, []);
    }

    #[test]
    fn what_is_wrong_with_a_law_is_said() {
        for (text, said) in [
            ("", "sum(COLUMN) or count(*)"),
            ("avg(amount)", "before \"avg(amount)\""),
            ("sum(amount", "expected ) at its end"),
            ("sum(amount) currency", "+, -, by or = 0 before \"currency\""),
            ("sum(amount) by", "the name of a column at its end"),
            ("sum(amount) by currency day", "a comma or = 0"),
            ("sum(amount) = 5", "0, the only number"),
            ("sum(amount) = 0 by currency", "nothing more"),
            ("sum(\"amount)", "the other quotation mark"),
            ("sum(total)", "no column \"total\" among those compared: id, amount"),
            ("sum(currency)", "column \"currency\" is text"),
            ("sum(rate)", "do not depend on the order"),
            ("sum(amount) by month(currency)", "which has no month"),
            ("sum(amount) by rate", "group by something else"),
        ] {
            let error = bound(text).unwrap_err();
            assert!(error.contains(said), "{text:?}: {error}");
        }
    }

    #[test]
    fn times_are_cut_by_their_texts() {
        let text = "2026-11-28 04:05:06.7+00";
        let cut: Vec<_> = Cut::ALL.iter().map(|cut| cut.of(text).into_owned()).collect();
        assert_eq!(cut, ["2026", "2026-11", "2026-11-28", "2026-11-28 04"]);
        assert_eq!(Cut::Hour.of("2026-11-28"), "2026-11-28");
        assert_eq!(Cut::Month.of("10044-03-15"), "10044-03");
        assert_eq!(Cut::Day.of("0044-03-15 00:00:00 BC"), "0044-03-15 BC");
        assert_eq!(Cut::Day.of("-infinity"), "-infinity");
        assert_eq!(Cut::Year.of("infinity"), "infinity");
    }
}
