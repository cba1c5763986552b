//! Answers that are rows, and how to ask for them by their keys.

use ::postgres::fallible_iterator::FallibleIterator as _;
use ::postgres::types::ToSql;

use super::Postgres;
use super::holds::holds;
use crate::drift::DriftError;
use crate::drift::shape::Row;

/// What a table is asked for at most at once.
const ASKED: usize = 2_000;

impl Postgres {
    /// Rows of a select over all columns, one by one: not all of them twice in memory.
    pub(super) fn texts(
        &mut self,
        statement: &str,
        values: &[&(dyn ToSql + Sync)],
        rows: &mut Vec<Row>,
    ) -> Result<(), DriftError> {
        let (keys, mut bytes) = (self.shape.keys.len(), 0);
        let read = self.client.query_raw(statement, values.iter().copied()).and_then(|found| {
            found.for_each(|row| {
                let mut taken = Row { keys: Vec::with_capacity(keys), values: Vec::with_capacity(row.len() - keys) };
                for index in 0..row.len() {
                    let text: Option<String> = row.try_get(index)?;
                    bytes += text.as_ref().map_or(0, String::len) as u64 + 4;
                    match index < keys {
                        true => taken.keys.push(text.unwrap_or_default()),
                        false => taken.values.push(text),
                    }
                }
                rows.push(taken);
                Ok(())
            })
        });
        self.bytes += bytes;
        read.map_err(|error| self.wrong(&error))
    }

    /// Asks for all of these keys, so many at a time, one array of texts for each column.
    pub(super) fn asked(
        &mut self,
        keys: &[&Vec<String>],
        mut ask: impl FnMut(&mut Self, &[&(dyn ToSql + Sync)]) -> Result<(), DriftError>,
    ) -> Result<(), DriftError> {
        for asked in keys.chunks(ASKED) {
            let text = |key: &&Vec<String>, column: usize| key.get(column).map_or(String::new(), String::clone);
            let columns: Vec<Vec<String>> =
                (0..self.shape.keys.len()).map(|column| asked.iter().map(|key| text(key, column)).collect()).collect();
            let values: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|column| column as &(dyn ToSql + Sync)).collect();
            ask(self, &values)?;
        }
        Ok(())
    }

    /// Keys that may be asked for. Those that no row can have are left out; a database of another encoding may not even be asked
    /// for a text that it cannot hold, and such keys come second.
    pub(super) fn split<'k>(&self, keys: &'k [Vec<String>]) -> (Vec<&'k Vec<String>>, Vec<&'k Vec<String>>) {
        let columns = &self.statements.keys;
        let is_possible =
            |key: &&Vec<String>| columns.iter().zip(*key).all(|(column, text)| holds(&column.sql_type, text));
        let is_utf8 = self.statements.is_utf8;
        keys.iter().filter(is_possible).partition(|key| is_utf8 || key.iter().all(|text| text.is_ascii()))
    }
}
