//! What must be conserved, added up in the server: MySQL sums integers and decimals as `DECIMAL`, which is exact up to 65 digits.
//! A sum that has more is the largest there is, with a warning that a query does not stop at: it is refused here.

use ::mysql::{Params, Value};

use super::Mysql;
use super::statement::{Base, SqlColumn, Statements};
use crate::drift::conserve::law::{Bound, Cut};
use crate::drift::conserve::total::{Amount, Totals};
use crate::drift::{DriftError, Part};

/// The most a `DECIMAL` has.
const DIGITS: usize = 65;

impl Mysql {
    /// Whether SQL prints the columns that this law groups by.
    pub(super) fn adds_up(&self, law: &Bound) -> bool {
        let columns: Vec<&SqlColumn> = self.statements.columns().collect();
        law.groups.iter().all(|(place, _)| columns.get(*place).is_some_and(|column| column.is_printed()))
    }

    pub(super) fn totals_of(&mut self, law: &Bound, part: Part) -> Result<Totals, DriftError> {
        let statement = self.statements.totals(law, part);
        let (mut totals, mut refused, groups) = (Totals::default(), None, law.groups.len());
        self.each(&statement, Params::Empty, &mut |values| {
            let mut texts: Vec<Option<String>> = values.into_iter().map(text).collect();
            let mut numbers = texts.split_off(groups.min(texts.len())).into_iter();
            let rows = numbers.next().flatten().and_then(|text| text.parse().ok()).unwrap_or(0);
            let mut amount = Amount::default();
            for (sign, place) in &law.terms {
                match place {
                    None => amount.add_term(&Amount::rows(rows), *sign),
                    // Null where every value is.
                    Some(_) => {
                        if let Some(sum) = numbers.next().flatten() {
                            if is_cut_off(&sum) {
                                refused.get_or_insert_with(|| too_long(law));
                            }
                            amount.add_term(&Amount::of(&sum), *sign);
                        }
                    }
                }
            }
            if refused.is_none() {
                refused = totals.add_group(law, texts, &amount).err();
            }
        })?;
        refused.map_or(Ok(totals), Err)
    }
}

/// Nothing but nines, as many as there can be.
fn is_cut_off(sum: &str) -> bool {
    let digits = sum.bytes().filter(u8::is_ascii_digit);
    digits.clone().count() >= DIGITS && digits.into_iter().all(|digit| digit == b'9')
}

fn too_long(law: &Bound) -> DriftError {
    DriftError::Pair(format!(
        "--conserve \"{}\": a sum has more than the {DIGITS} digits the server adds up with; group by something finer",
        law.text
    ))
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other => Some(other.as_sql(true)),
    }
}

impl Statements {
    /// Groups, rows and sums.
    pub fn totals(&self, law: &Bound, part: Part) -> String {
        let columns: Vec<&SqlColumn> = self.columns().collect();
        let column = |place: usize| columns.get(place).copied();
        // As bytes: a collation may fold texts, or ignore blanks.
        let group = |(place, cut): &(usize, Option<Cut>)| {
            let text = column(*place).and_then(SqlColumn::text).unwrap_or_default();
            match cut {
                None => format!("cast({text} AS binary)"),
                // Years have four digits.
                Some(Cut::Year) => format!("left({text}, 4)"),
                Some(Cut::Month) => format!("left({text}, 7)"),
                Some(Cut::Day) => format!("left({text}, 10)"),
                Some(Cut::Hour) => format!("left({text}, 13)"),
            }
        };
        let mut selected: Vec<String> = law.groups.iter().map(group).collect();
        let groups: Vec<String> = (1..=selected.len()).map(|number| number.to_string()).collect();
        selected.push("count(*)".to_owned());
        for SqlColumn { name, base, .. } in law.terms.iter().filter_map(|(_, place)| column((*place)?)) {
            let number = if matches!(base, Base::Bit(_)) { format!("{name} + 0") } else { name.clone() };
            selected.push(format!("cast(sum({number}) AS char)"));
        }
        let filter = if part.is_whole() { String::new() } else { format!(" WHERE {}", self.is_of(part)) };
        let grouped = if groups.is_empty() { String::new() } else { format!(" GROUP BY {}", groups.join(", ")) };
        format!("SELECT {} FROM {}{filter}{grouped}", selected.join(", "), self.table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_that_was_cut_off_is_known() {
        let nines = "9".repeat(DIGITS);
        assert!(is_cut_off(&nines) && is_cut_off(&format!("-{}.{}", &nines[..35], &nines[35..])));
        assert!(!is_cut_off(&nines[1..]) && !is_cut_off(&format!("{}8", &nines[1..])));
    }
}
