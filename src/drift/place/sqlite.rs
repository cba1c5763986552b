//! `sqlite:FILE?table=…&key=…&time=…`; an absolute path also as `sqlite:///FILE`.

use super::{Options, PlaceError, columns, decode};
use crate::drift::canon::time::Unit;

const STORE: &str = "sqlite";
const EXPECTED: &str = "sqlite:FILE?table=NAME";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlitePlace {
    pub file: String,
    pub table: String,
    /// Columns of the key; the primary key when empty.
    pub key: Vec<String>,
    /// What whole numbers in columns of time count.
    pub time: Option<Unit>,
}

pub(super) fn parse(rest: &str, options: Options) -> Result<SqlitePlace, PlaceError> {
    let missing = |what| PlaceError::Missing { store: STORE, what, expected: EXPECTED };
    let mut place = SqlitePlace { file: decode(rest), table: String::new(), key: Vec::new(), time: None };
    for (name, value) in options {
        let expected = match name.as_str() {
            "table" => {
                place.table = value;
                continue;
            }
            "key" => {
                place.key = columns(&value);
                continue;
            }
            "time" => match Unit::parse(&value) {
                Some(unit) => {
                    place.time = Some(unit);
                    continue;
                }
                None => "time is s, ms, us or ns",
            },
            _ => "there are table, key and time",
        };
        return Err(PlaceError::Unknown { store: STORE, name, value, expected });
    }
    match (place.file.is_empty(), place.table.is_empty()) {
        (true, _) => Err(missing("file")),
        (_, true) => Err(missing("table")),
        _ => Ok(place),
    }
}
