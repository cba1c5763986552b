//! Sums by group, of decimal numbers, exact.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{AddAssign, SubAssign};

use bigdecimal::{BigDecimal, Zero as _};
use rustc_hash::FxHashMap;

use super::law::{Bound, Sign};
use crate::drift::DriftError;
use crate::drift::canon::number::to_add;
use crate::drift::digest::Spans;
use crate::drift::shape::Row;

/// Groups of one law; more of them are no sums any more.
pub const MOST_GROUPS: usize = 100_000;

/// Values of the columns a law groups by.
pub type Group = Vec<Option<String>>;

/// A sum, and how many values it leaves out because they are no finite numbers: PostgreSQL's numeric has NaN and Infinity,
/// and SQLite's columns hold what they are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub sum: BigDecimal,
    pub not_finite: i64,
}

impl Amount {
    pub fn of(text: &str) -> Self {
        match to_add(text) {
            Some(sum) => Self { sum, not_finite: 0 },
            None => Self { sum: BigDecimal::zero(), not_finite: 1 },
        }
    }

    pub fn rows(count: i64) -> Self {
        Self { sum: BigDecimal::from(count), not_finite: 0 }
    }

    pub fn is_zero(&self) -> bool {
        self.sum.is_zero() && self.not_finite == 0
    }

    /// Another row, or one that is taken out again.
    pub fn add(&mut self, other: &Amount, sign: Sign) {
        match sign {
            Sign::Plus => *self += other,
            Sign::Minus => *self -= other,
        }
    }

    /// Another term of the same rows: what is no finite number is none with either sign, and two of them do not cancel out.
    pub fn add_term(&mut self, term: &Amount, sign: Sign) {
        match sign {
            Sign::Plus => self.sum += &term.sum,
            Sign::Minus => self.sum -= &term.sum,
        }
        self.not_finite += term.not_finite;
    }
}

impl AddAssign<&Amount> for Amount {
    fn add_assign(&mut self, other: &Amount) {
        self.sum += &other.sum;
        self.not_finite += other.not_finite;
    }
}

impl SubAssign<&Amount> for Amount {
    fn sub_assign(&mut self, other: &Amount) {
        self.sum -= &other.sum;
        self.not_finite -= other.not_finite;
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sum.to_plain_string())?;
        match self.not_finite {
            0 => Ok(()),
            1 => f.write_str(" and a value that is no finite number"),
            more => write!(f, " and {more} values that are no finite numbers"),
        }
    }
}

/// What a law adds up to in one store.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    groups: FxHashMap<Group, Amount>,
    /// Reused from row to row.
    group: Group,
}

impl Totals {
    /// One row, its texts in the order of the columns.
    pub fn add(&mut self, law: &Bound, row: &Spans, sign: Sign) -> Result<(), DriftError> {
        let texts: smallvec::SmallVec<[Option<&[u8]>; 16]> = row.texts().collect();
        let text = |place: usize| texts.get(place).copied().flatten().map(String::from_utf8_lossy);
        let mut amount = Amount::default();
        for (sign, place) in &law.terms {
            match place {
                None => amount.add_term(&Amount::rows(1), *sign),
                Some(place) => {
                    if let Some(text) = text(*place) {
                        amount.add_term(&Amount::of(&text), *sign);
                    }
                }
            }
        }
        self.group.resize(law.groups.len(), None);
        for ((place, cut), slot) in law.groups.iter().zip(&mut self.group) {
            match text(*place) {
                None => *slot = None,
                Some(text) => {
                    let slot = slot.get_or_insert_default();
                    slot.clear();
                    slot.push_str(&cut.map_or(text.as_ref().into(), |cut| cut.of(&text)));
                }
            }
        }
        if let Some(total) = self.groups.get_mut(&self.group) {
            total.add(&amount, sign);
            return Ok(());
        }
        let group = self.group.clone();
        self.put(law, group, &amount, sign)
    }

    /// The same of a row that is at hand as texts.
    pub fn add_row(&mut self, law: &Bound, row: &Row, sign: Sign) -> Result<(), DriftError> {
        let mut spans = Spans::default();
        row.write(&mut spans);
        self.add(law, &spans, sign)
    }

    /// What a database says of one of its groups, which may be finer than the law's.
    pub fn add_group(&mut self, law: &Bound, mut group: Group, amount: &Amount) -> Result<(), DriftError> {
        for ((_, cut), text) in law.groups.iter().zip(&mut group) {
            if let (Some(cut), Some(text)) = (cut, text) {
                *text = cut.of(text).into_owned();
            }
        }
        self.put(law, group, amount, Sign::Plus)
    }

    fn put(&mut self, law: &Bound, group: Group, amount: &Amount, sign: Sign) -> Result<(), DriftError> {
        if self.groups.len() >= MOST_GROUPS && !self.groups.contains_key(&group) {
            return Err(DriftError::Pair(format!(
                "--conserve \"{}\" has more than {MOST_GROUPS} groups; group by something coarser",
                law.text
            )));
        }
        self.groups.entry(group).or_default().add(amount, sign);
        Ok(())
    }

    pub fn merge(&mut self, law: &Bound, other: Totals) -> Result<(), DriftError> {
        other.groups.into_iter().try_for_each(|(group, amount)| self.put(law, group, &amount, Sign::Plus))
    }

    /// In order.
    pub fn into_groups(self) -> BTreeMap<Group, Amount> {
        self.groups.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::drift::canon::Type;
    use crate::drift::conserve::law::Law;
    use crate::drift::shape::{Column, Shape};

    fn bound(text: &str) -> Bound {
        let column = |name: &str, ty| Column { name: name.to_owned(), ty, is_nullable: true };
        let values = vec![
            column("amount", Type::Decimal(None)),
            column("fee", Type::Integer),
            column("currency", Type::Text),
            column("at", Type::Timestamp(6)),
        ];
        let shape = Shape { keys: vec![column("id", Type::Integer)], values, ..Shape::default() };
        text.parse::<Law>().unwrap().bind(&shape).unwrap()
    }

    fn row(amount: Option<&str>, fee: i64, currency: Option<&str>, at: &str) -> Row {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Row {
            keys: vec!["1".to_owned()],
            values: vec![text(amount), Some(fee.to_string()), text(currency), text(Some(at))],
        }
    }

    #[test]
    fn values_without_a_sum_are_counted() {
        let law = bound("sum(amount)");
        let mut totals = Totals::default();
        for amount in [Some("1.10"), Some("NaN"), None, Some("Infinity"), Some("-0.1")] {
            totals.add_row(&law, &row(amount, 0, None, ""), Sign::Plus).unwrap();
        }
        totals.add_row(&law, &row(Some("Infinity"), 0, None, ""), Sign::Minus).unwrap();
        let groups = totals.into_groups();
        assert_eq!(groups[&vec![]].to_string(), "1.00 and a value that is no finite number");
    }

    #[test]
    fn two_values_without_a_sum_do_not_cancel_out() {
        let law = bound("sum(amount) - sum(amount)");
        let mut totals = Totals::default();
        totals.add_row(&law, &row(Some("NaN"), 0, None, ""), Sign::Plus).unwrap();
        assert_eq!(totals.into_groups()[&vec![]].to_string(), "0 and 2 values that are no finite numbers");
    }

    #[test]
    fn null_is_a_group_and_no_empty_text() {
        let law = bound("count(*) by currency");
        let mut totals = Totals::default();
        for currency in [None, Some(""), None, Some("EUR")] {
            totals.add_row(&law, &row(None, 0, currency, ""), Sign::Plus).unwrap();
        }
        let said: Vec<_> = totals.into_groups().into_iter().map(|(group, total)| (group, total.to_string())).collect();
        let group = |text: Option<&str>| vec![text.map(str::to_owned)];
        let wanted = [(None, "2"), (Some(""), "1"), (Some("EUR"), "1")];
        assert_eq!(said, wanted.map(|(text, count)| (group(text), count.to_owned())));
    }

    #[test]
    fn a_law_with_a_group_for_each_row_is_refused() {
        let law = bound("count(*) by id");
        let mut totals = Totals::default();
        let mut row = row(None, 0, None, "");
        let refused = (0..=MOST_GROUPS).find_map(|id| {
            row.keys = vec![id.to_string()];
            totals.add_row(&law, &row, Sign::Plus).err()
        });
        assert!(refused.unwrap().to_string().contains("group by something coarser"));
    }

    proptest! {
        /// The oracle adds up hundredths as integers.
        #[test]
        fn sums_are_those_of_integers(
            rows in prop::collection::vec((-100_000_i64..100_000, 0..50_i64, 0..3_usize, 1..4_u32, any::<bool>()), 0..60)
        ) {
            let law = bound("sum(amount) - sum(fee) + count(*) by currency, day(at)");
            let (mut totals, mut wanted) = (Totals::default(), BTreeMap::<(String, String), i64>::new());
            for (cents, fee, currency, day, is_plus) in rows {
                let currency = ["EUR", "USD", "JPY"][currency];
                let amount = format!("{}{}.{:02}", if cents < 0 { "-" } else { "" }, cents.abs() / 100, cents.abs() % 100);
                let (day, sign) = (format!("2026-11-{day:02}"), if is_plus { Sign::Plus } else { Sign::Minus });
                totals.add_row(&law, &row(Some(&amount), fee, Some(currency), &format!("{day} 01:02:03")), sign).unwrap();
                let value = cents - fee * 100 + 100;
                *wanted.entry((currency.to_owned(), day)).or_default() += if is_plus { value } else { -value };
            }
            let found: BTreeMap<(String, String), BigDecimal> = totals
                .into_groups()
                .into_iter()
                .map(|(group, amount)| ((group[0].clone().unwrap(), group[1].clone().unwrap()), amount.sum))
                .collect();
            let wanted: BTreeMap<_, _> =
                wanted.into_iter().map(|(group, cents)| (group, BigDecimal::new(cents.into(), 2))).collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
