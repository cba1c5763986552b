//! From a record to the row it says its key has, in canonical texts.

use serde::de::DeserializeSeed as _;
use serde_json::value::RawValue;

use super::canon::time::Unit;
use super::canon::{Canonical, Given, Misfit, Times, Type};
use super::cut::Origin;
use super::digest::Spans;
use super::place::{Form, KeyFrom, TopicPlace};
use super::shape::{Column, Shape};
use change::Change;
use envelope::Envelope;
use flat::Names;
use members::{Members, Slots};

pub mod change;
pub mod envelope;
mod flat;
mod members;

/// What a record says. The texts are in the spans: of the key alone, or of key and row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    Row,
    /// A row without the large values that its change left as they were; which they are is in [`Parser::unavailable`].
    Partial,
    Deleted,
    /// The key is there, the row could not be read.
    Unreadable(Unusable),
    /// Nothing about a row: a heartbeat, a schema change, a transaction's marker.
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("the record has no key")]
    NoKey,
    #[error("its {0} is no JSON object")]
    NoJson(&'static str),
    #[error("its key has no member \"{0}\"")]
    KeyMember(String),
    #[error("the key's column \"{0}\" is null")]
    NullKey(String),
    #[error("\"{column}\" {misfit}")]
    Column { column: String, misfit: Misfit },
    #[error("the table was truncated here; what it held before is not known to be gone key by key")]
    Truncated,
    #[error("it is no event of Debezium's: it has no \"op\"")]
    NoEvent,
    #[error("\"{0}\" is no operation of Debezium's")]
    Operation(String),
}

/// Counts of what was not plainly as it is.
#[derive(Clone, Debug, Default)]
pub struct Relaxed {
    /// By column: values that the column's type had to round.
    pub narrowed: Vec<u64>,
    /// By column: records without the member, taken for null.
    pub absent: Vec<u64>,
}

impl Relaxed {
    pub fn new(columns: usize) -> Self {
        Self { narrowed: vec![0; columns], absent: vec![0; columns] }
    }

    pub fn add(&mut self, other: &Relaxed) {
        let each = |ours: &mut Vec<u64>, theirs: &[u64]| ours.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        each(&mut self.narrowed, &other.narrowed);
        each(&mut self.absent, &other.absent);
    }
}

/// Reads the records of one topic.
pub struct Parser<'s> {
    shape: &'s Shape,
    key: KeyFrom,
    form: Form,
    times: Times,
    pub relaxed: Relaxed,
    /// Whether anybody asks where change events come from.
    pub wants_origin: bool,
    /// Of the last record, where it was a change event and that is wanted.
    pub origin: Option<Origin>,
    /// Columns beside the key that the last record does not tell.
    pub unavailable: Vec<usize>,
    /// The last record lacks the member of a column.
    pub is_lacking: bool,
    /// Whether anybody asks what rows were before their changes.
    pub wants_change: bool,
    /// Of the last record, where it was a change event and that is wanted.
    pub change: Option<Change>,
    /// The row before the last change, where it tells one.
    pub before: Spans,
    /// An update has told it.
    has_images: bool,
    names: Names,
    /// Some column is a time of day.
    has_clocks: bool,
}

impl<'s> Parser<'s> {
    pub fn new(shape: &'s Shape, place: &TopicPlace) -> Self {
        let relaxed = Relaxed::new(shape.values.len());
        // JavaScript's and Java's clocks count milliseconds; Debezium goes by the column.
        let unit = place.time.or((place.form == Form::Json).then_some(Unit::Millis));
        let times = Times { unit, of_day: None, fractions: shape.fractions };
        Self {
            shape,
            key: place.key.clone(),
            form: place.form,
            times,
            relaxed,
            wants_origin: false,
            origin: None,
            unavailable: Vec::new(),
            is_lacking: false,
            wants_change: false,
            change: None,
            before: Spans::default(),
            has_images: false,
            names: Names::of(shape),
            has_clocks: shape.columns().any(|column| matches!(column.ty, Type::Time(_))),
        }
    }

    /// The texts of the record go into `spans`.
    pub fn read(&mut self, key: Option<&[u8]>, value: Option<&[u8]>, spans: &mut Spans) -> Result<Says, Unusable> {
        spans.clear();
        self.origin = None;
        self.unavailable.clear();
        (self.is_lacking, self.change) = (false, None);
        match self.form {
            Form::Json => self.plain(key, value, spans),
            Form::Debezium => self.envelope(key, value, spans),
        }
    }

    fn plain(&mut self, key: Option<&[u8]>, value: Option<&[u8]>, spans: &mut Spans) -> Result<Says, Unusable> {
        let members = value.map(|value| self.members(value));
        match (&self.key, &members) {
            (KeyFrom::Key, _) => self.key_of_record(key, spans)?,
            (KeyFrom::Value, Some(Ok(members))) => self.key_of_members(members, spans)?,
            // Nothing says which key a deletion is of.
            (KeyFrom::Value, _) => return Err(Unusable::NoKey),
        }
        match members {
            None => Ok(Says::Deleted),
            // As `ExtractNewRecordState` with delete.handling.mode=rewrite.
            Some(Ok(members)) if members.is_deleted => Ok(Says::Deleted),
            Some(Ok(members)) => Ok(self.row(&members, spans)),
            Some(Err(error)) => Ok(Says::Unreadable(error)),
        }
    }

    fn envelope(&mut self, key: Option<&[u8]>, value: Option<&[u8]>, spans: &mut Spans) -> Result<Says, Unusable> {
        // A tombstone follows the event that deletes.
        let Some(value) = value else {
            self.key_of_record(key, spans)?;
            return Ok(Says::Deleted);
        };
        let envelope = Envelope::of(value).ok_or(Unusable::NoJson("value"))?;
        self.origin = self.wants_origin.then(|| envelope.origin());
        if self.has_clocks {
            // Debezium counts MySQL's times of day so, however many digits the column has.
            let is_mysql = matches!(envelope.connector(), Some("mysql" | "mariadb"));
            self.times.of_day = is_mysql.then_some(Unit::Micros);
        }
        let state = match envelope.op {
            Some("c" | "u" | "r") => envelope.after,
            Some("d") => envelope.before,
            Some("t") => return Err(Unusable::Truncated),
            Some("m") => return Ok(Says::Nothing),
            None if envelope.is_of_connector() => return Ok(Says::Nothing),
            None => return Err(Unusable::NoEvent),
            Some(other) => return Err(Unusable::Operation(other.to_owned())),
        };
        let members = match state.filter(|state| state.get() != "null") {
            Some(state) => Some(self.members(state.get().as_bytes())?),
            None => None,
        };
        match (&self.key, &members) {
            (KeyFrom::Value, Some(members)) => self.key_of_members(members, spans)?,
            _ => self.key_of_record(key, spans)?,
        }
        let says = match (envelope.op, members) {
            (Some("d"), _) => Says::Deleted,
            (_, Some(members)) => self.row(&members, spans),
            (_, None) => return Err(Unusable::NoJson("value")),
        };
        if self.wants_change {
            self.change = self.change_of(&envelope, spans);
        }
        Ok(says)
    }

    fn key_of_record(&mut self, key: Option<&[u8]>, spans: &mut Spans) -> Result<(), Unusable> {
        let key = key.ok_or(Unusable::NoKey)?;
        let text = std::str::from_utf8(key).map_err(|_| Unusable::NoJson("key"))?;
        if text.starts_with('{') {
            let members = self.members(key).map_err(|_| Unusable::NoJson("key"))?;
            let named = self.key_of_members(&members, spans);
            if let (Err(Unusable::KeyMember(_)), [column]) = (&named, self.shape.keys.as_slice())
                && let Some(bare) = wrapped(text)
            {
                let given = Given::of(bare).map_err(|misfit| unfit(column, misfit))?;
                return write_key(column, &given, self.times, spans);
            }
            return named;
        }
        let [column] = self.shape.keys.as_slice() else {
            return Err(Unusable::KeyMember(self.shape.keys.first().map(|key| key.name.clone()).unwrap_or_default()));
        };
        // The bare value, or a JSON string.
        let given = match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(_) => Given::of(text).unwrap_or(Given::Text(text.into())),
            None => Given::Text(text.into()),
        };
        write_key(column, &given, self.times, spans)
    }

    fn key_of_members(&self, members: &Slots<'_>, spans: &mut Spans) -> Result<(), Unusable> {
        for (index, column) in self.shape.keys.iter().enumerate() {
            let given = members.given(index).ok_or_else(|| Unusable::KeyMember(column.name.clone()))?;
            let given = given.map_err(|misfit| unfit(column, misfit))?;
            write_key(column, &given, self.times, spans)?;
        }
        Ok(())
    }

    /// Appends the values behind the key.
    fn row(&mut self, members: &Slots<'_>, spans: &mut Spans) -> Says {
        let keys = self.shape.keys.len();
        for (index, column) in self.shape.values.iter().enumerate() {
            let written = match members.given(keys + index) {
                None => {
                    self.relaxed.absent[index] += 1;
                    self.is_lacking = true;
                    Ok(Canonical::Null)
                }
                Some(given) => given.and_then(|given| column.ty.canonical(&given, self.times, &mut spans.bytes)),
            };
            match written {
                Ok(canonical) => {
                    self.relaxed.narrowed[index] += u64::from(canonical == Canonical::Narrowed);
                    spans.end(canonical == Canonical::Null);
                }
                Err(Misfit::Unavailable) => {
                    self.unavailable.push(index);
                    spans.end(true);
                }
                Err(misfit) => return Says::Unreadable(unfit(column, misfit)),
            }
        }
        if self.unavailable.is_empty() { Says::Row } else { Says::Partial }
    }

    fn members<'a>(&self, text: &'a [u8]) -> Result<Slots<'a>, Unusable> {
        // Checked once, and not again for every member; what is not UTF-8 may still be so in a member that nobody asks for.
        let slots = match std::str::from_utf8(text) {
            Ok(text) => match flat::members(text, self.shape, &self.names) {
                Some(slots) => Ok(slots),
                None => self.members_of(serde_json::Deserializer::from_str(text)),
            },
            Err(_) => self.members_of(serde_json::Deserializer::from_slice(text)),
        };
        slots.map_err(|_| Unusable::NoJson("value"))
    }

    fn members_of<'a, R: serde_json::de::Read<'a>>(
        &self,
        mut json: serde_json::Deserializer<R>,
    ) -> serde_json::Result<Slots<'a>> {
        let slots = Members { shape: self.shape, is_inner: false }.deserialize(&mut json)?;
        json.end()?;
        Ok(slots)
    }
}

/// A key of Connect's that is no struct: `{"schema":…,"payload":7}`.
fn wrapped(text: &str) -> Option<&str> {
    #[derive(serde::Deserialize)]
    struct Wrapped<'a> {
        #[serde(borrow)]
        schema: &'a RawValue,
        #[serde(borrow)]
        payload: &'a RawValue,
    }
    let Wrapped { schema, payload } = serde_json::from_str(text).ok()?;
    let is_bare = schema.get().starts_with('{') && !payload.get().starts_with(['{', '[', 'n']);
    is_bare.then(|| payload.get())
}

fn unfit(column: &Column, misfit: Misfit) -> Unusable {
    Unusable::Column { column: column.name.clone(), misfit }
}

fn write_key(column: &Column, given: &Given<'_>, times: Times, spans: &mut Spans) -> Result<(), Unusable> {
    match column.ty.canonical(given, times, &mut spans.bytes) {
        Ok(Canonical::Null) => Err(Unusable::NullKey(column.name.clone())),
        Ok(_) => {
            spans.end(false);
            Ok(())
        }
        Err(misfit) => Err(unfit(column, misfit)),
    }
}

#[cfg(test)]
mod tests;
