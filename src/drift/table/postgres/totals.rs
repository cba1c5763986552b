//! What must be conserved, added up in the server: exactly, since PostgreSQL sums integers and decimals as `numeric`.

use super::Postgres;
use super::pace::Blocks;
use crate::drift::canon::Type;
use crate::drift::conserve::law::Bound;
use crate::drift::conserve::total::{Amount, Totals};
use crate::drift::table::statement::{SqlColumn, Statements};
use crate::drift::{DriftError, Part};

impl Postgres {
    pub(super) fn totals_of(&mut self, law: &Bound, part: Part) -> Result<Totals, DriftError> {
        let mut totals = Totals::default();
        self.in_steps(|table, blocks| table.add_totals(law, part, blocks, &mut totals))?;
        Ok(totals)
    }

    /// How many rows it were.
    fn add_totals(
        &mut self,
        law: &Bound,
        part: Part,
        blocks: Option<Blocks>,
        totals: &mut Totals,
    ) -> Result<u64, DriftError> {
        let statement = self.statements.totals(law, part, blocks);
        let found = self.client.query(&statement, &[]).map_err(|error| self.wrong(&error))?;
        let (groups, mut count) = (law.groups.len(), 0);
        for row in found {
            let mut texts = Vec::with_capacity(row.len());
            for index in 0..row.len() {
                let text: Option<String> = self.get(&row, index)?;
                self.bytes += text.as_ref().map_or(0, String::len) as u64 + 4;
                texts.push(text);
            }
            let mut numbers = texts.split_off(groups).into_iter().map(Option::unwrap_or_default);
            let rows: i64 = numbers.next().and_then(|text| text.parse().ok()).unwrap_or(0);
            let mut amount = Amount::default();
            for (sign, place) in &law.terms {
                let term = match place {
                    None => Amount::rows(rows),
                    Some(_) => {
                        let sum = numbers.next().unwrap_or_default();
                        let mut term = if sum.is_empty() { Amount::default() } else { Amount::of(&sum) };
                        term.not_finite += numbers.next().and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
                        term
                    }
                };
                amount.add_term(&term, *sign);
            }
            totals.add_group(law, texts, &amount)?;
            count += rows.max(0) as u64;
        }
        Ok(count)
    }
}

impl Statements {
    /// Groups, rows, and for each sum its value and how many values are no finite numbers; all as text.
    pub fn totals(&self, law: &Bound, part: Part, blocks: Option<Blocks>) -> String {
        let columns: Vec<&SqlColumn> = self.keys.iter().chain(&self.values).collect();
        let mut selected: Vec<String> = Vec::new();
        for (place, cut) in &law.groups {
            let Some(column) = columns.get(*place) else { continue };
            selected.push(match cut {
                // Exactly cut where its text is read; here only so that there are few groups.
                Some(cut) if column.ty == Type::Date => {
                    format!("date_trunc('{}', {}::timestamp)::text", cut.name(), column.name)
                }
                Some(cut) => format!("date_trunc('{}', {})::text", cut.name(), column.name),
                // A collation may fold texts.
                None => format!("({}) COLLATE \"C\"", column.text()),
            });
        }
        let groups: Vec<String> = (1..=selected.len()).map(|number| number.to_string()).collect();
        selected.push("count(*)::text".to_owned());
        for place in law.terms.iter().filter_map(|(_, place)| *place) {
            let Some(SqlColumn { name, ty, .. }) = columns.get(place) else { continue };
            match ty {
                Type::Integer => selected.extend([format!("sum({name})::text"), "'0'".to_owned()]),
                // NaN and Infinity less themselves are NaN, which is no zero.
                _ => selected.extend([
                    format!("(sum({name}) FILTER (WHERE {name} - {name} = 0))::text"),
                    format!("(count(*) FILTER (WHERE {name} - {name} <> 0))::text"),
                ]),
            }
        }
        let grouped = if groups.is_empty() { String::new() } else { format!(" GROUP BY {}", groups.join(", ")) };
        format!("SELECT {} FROM {}{}{grouped}", selected.join(", "), self.table, self.within(part, blocks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::conserve::law::Law;
    use crate::drift::digest::Method;
    use crate::drift::shape::{Column, Shape};
    use crate::drift::table::statement::Source;

    #[test]
    fn one_statement_adds_up_by_group() {
        let types = [("id", Type::Integer), ("amount", Type::Decimal(Some(2))), ("at", Type::Instant(6))];
        let sql = |(name, ty): (&str, Type)| SqlColumn {
            name: format!("\"{name}\""),
            sql_type: String::new(),
            ty,
            is_nullable: true,
            is_exact: true,
            source: Source::Given,
        };
        let column = |(name, ty): (&str, Type)| Column { name: name.to_owned(), ty, is_nullable: true };
        let shape = Shape {
            keys: vec![column(types[0])],
            values: types[1..].iter().copied().map(column).collect(),
            ..Shape::default()
        };
        let statements = Statements {
            table: "\"t\"".to_owned(),
            keys: vec![sql(types[0])],
            values: types[1..].iter().copied().map(sql).collect(),
            method: Method::Chain,
            is_utf8: true,
        };
        let law = |text: &str| text.parse::<Law>().unwrap().bind(&shape).unwrap();
        assert_eq!(
            statements.totals(&law("sum(amount) - sum(id) by day(at), id"), Part::WHOLE, None),
            "SELECT date_trunc('day', \"at\")::text, (\"id\"::text) COLLATE \"C\", count(*)::text, \
             (sum(\"amount\") FILTER (WHERE \"amount\" - \"amount\" = 0))::text, \
             (count(*) FILTER (WHERE \"amount\" - \"amount\" <> 0))::text, sum(\"id\")::text, '0' FROM \"t\" GROUP BY 1, 2"
        );
        let paced = statements.totals(&law("count(*)"), Part { of: 4, index: 1 }, Some((8, Some(16))));
        assert!(paced.starts_with("SELECT count(*)::text FROM \"t\" WHERE (("), "{paced}");
        assert!(paced.ends_with("% 4 = 1 AND ctid >= '(8,0)'::tid AND ctid < '(16,0)'::tid"), "{paced}");
    }
}
