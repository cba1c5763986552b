//! The members of a JSON object that belong to columns.

use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::drift::canon::json::Text;
use crate::drift::canon::{Given, Misfit};
use crate::drift::shape::{Column, Shape};

/// The members of an object that belong to columns, keys first.
#[derive(Debug)]
pub struct Slots<'a> {
    pub slots: smallvec::SmallVec<[Option<&'a str>; 16]>,
    /// Of the first 64: a text that is known to have no escapes.
    plain: u64,
    pub is_deleted: bool,
}

impl<'a> Slots<'a> {
    pub fn new(columns: usize) -> Self {
        Self { slots: smallvec::smallvec![None; columns], plain: 0, is_deleted: false }
    }

    /// A value without escapes.
    pub fn put(&mut self, index: usize, raw: &'a str) {
        self.slots[index] = Some(raw);
        let bit = 1_u64.checked_shl(index as u32).unwrap_or(0);
        self.plain = if raw.starts_with('"') { self.plain | bit } else { self.plain & !bit };
    }

    /// `None` where the member is not there.
    #[inline]
    pub fn given(&self, index: usize) -> Option<Result<Given<'a>, Misfit>> {
        let raw = (*self.slots.get(index)?)?;
        let is_plain = index < 64 && self.plain >> index & 1 == 1;
        Some(match raw.get(1..raw.len().saturating_sub(1)) {
            Some(text) if is_plain => Ok(Given::Text(text.into())),
            _ => Given::of(raw),
        })
    }
}

pub struct Members<'s> {
    pub shape: &'s Shape,
    /// Inside of a payload there is no other.
    pub is_inner: bool,
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
                None if name == "payload" && !self.is_inner => {
                    let inner = map.next_value::<&RawValue>()?.get();
                    // A column may be called so, and it was found above then.
                    let seed = Members { shape: self.shape, is_inner: true };
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
pub fn place_of(shape: &Shape, name: &str, next: usize) -> Option<usize> {
    let is_named = |index: &usize| column(shape, *index).is_some_and(|column| column.name == name);
    Some(next).filter(is_named).or_else(|| (0..shape.keys.len() + shape.values.len()).find(is_named))
}

fn column(shape: &Shape, index: usize) -> Option<&Column> {
    shape.keys.get(index).or_else(|| shape.values.get(index.checked_sub(shape.keys.len())?))
}
