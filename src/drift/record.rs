//! From a record to the row it says its key has, in canonical texts.

use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::canon::json::Text;
use super::canon::time::Unit;
use super::canon::{Canonical, Given, Misfit};
use super::cut::Origin;
use super::digest::Spans;
use super::place::{Form, KeyFrom, TopicPlace};
use super::shape::{Column, Shape};
use change::Change;
use envelope::Envelope;
use flat::Names;

pub mod change;
pub mod envelope;
mod flat;

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
    #[error("its {0} does not parse as JSON")]
    NoJson(&'static str),
    #[error("its key has no member \"{0}\"")]
    KeyMember(String),
    #[error("the key's column \"{0}\" is null")]
    NullKey(String),
    #[error("\"{column}\" {misfit}")]
    Column { column: String, misfit: Misfit },
    #[error("the table was truncated here; what it held before is not known to be gone key by key")]
    Truncated,
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
    unit: Option<Unit>,
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
}

impl<'s> Parser<'s> {
    pub fn new(shape: &'s Shape, place: &TopicPlace) -> Self {
        let relaxed = Relaxed::new(shape.values.len());
        // JavaScript's and Java's clocks count milliseconds; Debezium goes by the column.
        let unit = place.time.or((place.form == Form::Json).then_some(Unit::Millis));
        Self {
            shape,
            key: place.key.clone(),
            form: place.form,
            unit,
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
        let state = match envelope.op {
            Some("c" | "u" | "r") => envelope.after,
            Some("d") => envelope.before,
            Some("t") => return Err(Unusable::Truncated),
            Some("m") | None => return Ok(Says::Nothing),
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
            return self.key_of_members(&members, spans);
        }
        let [column] = self.shape.keys.as_slice() else {
            return Err(Unusable::KeyMember(self.shape.keys.first().map(|key| key.name.clone()).unwrap_or_default()));
        };
        // The bare value, or a JSON string.
        let given = match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(_) => Given::of(text).unwrap_or(Given::Text(text.into())),
            None => Given::Text(text.into()),
        };
        write_key(column, &given, self.unit, spans)
    }

    fn key_of_members(&self, members: &Slots<'_>, spans: &mut Spans) -> Result<(), Unusable> {
        for (index, column) in self.shape.keys.iter().enumerate() {
            let given = members.given(index).ok_or_else(|| Unusable::KeyMember(column.name.clone()))?;
            let given = given.map_err(|misfit| unfit(column, misfit))?;
            write_key(column, &given, self.unit, spans)?;
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
                Some(given) => given.and_then(|given| column.ty.canonical(&given, self.unit, &mut spans.bytes)),
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
        let slots = Members { shape: self.shape }.deserialize(&mut json)?;
        json.end()?;
        Ok(slots)
    }
}

fn unfit(column: &Column, misfit: Misfit) -> Unusable {
    Unusable::Column { column: column.name.clone(), misfit }
}

fn write_key(column: &Column, given: &Given<'_>, unit: Option<Unit>, spans: &mut Spans) -> Result<(), Unusable> {
    match column.ty.canonical(given, unit, &mut spans.bytes) {
        Ok(Canonical::Null) => Err(Unusable::NullKey(column.name.clone())),
        Ok(_) => {
            spans.end(false);
            Ok(())
        }
        Err(misfit) => Err(unfit(column, misfit)),
    }
}

/// The members of an object that belong to columns, keys first.
#[derive(Debug)]
struct Slots<'a> {
    slots: smallvec::SmallVec<[Option<&'a str>; 16]>,
    /// Of the first 64: a text that is known to have no escapes.
    plain: u64,
    is_deleted: bool,
}

impl<'a> Slots<'a> {
    fn new(columns: usize) -> Self {
        Self { slots: smallvec::smallvec![None; columns], plain: 0, is_deleted: false }
    }

    /// A value without escapes.
    fn put(&mut self, index: usize, raw: &'a str) {
        self.slots[index] = Some(raw);
        let bit = 1_u64.checked_shl(index as u32).unwrap_or(0);
        self.plain = if raw.starts_with('"') { self.plain | bit } else { self.plain & !bit };
    }

    /// `None` where the member is not there.
    fn given(&self, index: usize) -> Option<Result<Given<'a>, Misfit>> {
        let raw = (*self.slots.get(index)?)?;
        let is_plain = index < 64 && self.plain >> index & 1 == 1;
        Some(match raw.get(1..raw.len().saturating_sub(1)) {
            Some(text) if is_plain => Ok(Given::Text(text.into())),
            _ => Given::of(raw),
        })
    }
}

struct Members<'s> {
    shape: &'s Shape,
}

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = Slots<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        // With "schemas.enable" Connect wraps key and value.
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Slots<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut slots = Slots::new(self.shape.keys.len() + self.shape.values.len());
        let mut next = 0;
        while let Some(Text(name)) = map.next_key()? {
            match place_of(self.shape, &name, next) {
                Some(index) => {
                    slots.slots[index] = Some(map.next_value::<&RawValue>()?.get());
                    next = index + 1;
                }
                None if name == "payload" => {
                    let inner = map.next_value::<&RawValue>()?.get();
                    // A column may be called so, and it was found above then.
                    let seed = Members { shape: self.shape };
                    if let Ok(inner) = seed.deserialize(&mut serde_json::Deserializer::from_str(inner)) {
                        let is_empty = slots.slots.iter().all(Option::is_none);
                        if is_empty {
                            slots = inner;
                        }
                    }
                }
                None if name == "__deleted" => {
                    slots.is_deleted = matches!(map.next_value::<&RawValue>()?.get(), "true" | "\"true\"");
                }
                None => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(slots)
    }
}

/// The column of that name. Members mostly come in the order of the columns: the one that would be next is tried first.
fn place_of(shape: &Shape, name: &str, next: usize) -> Option<usize> {
    let is_named = |index: &usize| column(shape, *index).is_some_and(|column| column.name == name);
    Some(next).filter(is_named).or_else(|| (0..shape.keys.len() + shape.values.len()).find(is_named))
}

fn column(shape: &Shape, index: usize) -> Option<&Column> {
    shape.keys.get(index).or_else(|| shape.values.get(index.checked_sub(shape.keys.len())?))
}

#[cfg(test)]
mod tests;
