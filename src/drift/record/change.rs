//! What a change event says of how its row came to be: the operation, the row before it, and where in the source's log.

use serde_json::value::RawValue;

use super::envelope::{Envelope, Place};
use super::{Parser, Spans};
use crate::drift::canon::Canonical;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Create,
    Update,
    Delete,
    /// A row as a snapshot of the connector's found it: it may be newer than changes that follow it.
    Read,
}

/// What the event says its key's row was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    Untold,
    /// There was none.
    None,
    /// Its texts are in [`Parser::before`].
    Row,
}

impl Op {
    pub fn name(self) -> &'static str {
        match self {
            Op::Create => "create",
            Op::Update => "update",
            Op::Delete => "delete",
            Op::Read => "read",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub op: Op,
    pub before: Before,
    /// A `before` stands in it, whatever it tells: without a full image it has a few columns, or only the key.
    pub has_image: bool,
    /// Asked for once an update with a `before` was met.
    pub place: Option<Place>,
}

impl Parser<'_> {
    /// Of the event whose key and row are in `spans`.
    pub(super) fn change_of(&mut self, envelope: &Envelope<'_>, spans: &Spans) -> Option<Change> {
        let op = match envelope.op? {
            "c" => Op::Create,
            "u" => Op::Update,
            "d" => Op::Delete,
            _ => Op::Read,
        };
        let image = envelope.before.filter(|before| before.get() != "null");
        self.has_images |= op == Op::Update && image.is_some();
        // A topic without them costs no more than it did.
        let (place, is_snapshot) = if self.has_images { envelope.place() } else { (None, false) };
        let op = if is_snapshot { Op::Read } else { op };
        let before = match (op, image) {
            _ if place.is_none() => Before::Untold,
            (Op::Create, None) => Before::None,
            (Op::Update | Op::Delete, Some(image)) if self.reads_before(image, spans) => Before::Row,
            _ => Before::Untold,
        };
        Some(Change { op, before, has_image: image.is_some(), place })
    }

    /// Whether every column has its value there, under the key that the event has. A part of a row would not do.
    fn reads_before(&mut self, image: &RawValue, spans: &Spans) -> bool {
        let Ok(members) = self.members(image.get().as_bytes()) else { return false };
        let keys = self.shape.keys.len();
        let mut before = std::mem::take(&mut self.before);
        before.clear();
        let mut is_whole =
            self.key_of_members(&members, &mut before).is_ok() && before.texts().eq(spans.texts().take(keys));
        for (index, column) in self.shape.values.iter().enumerate() {
            let given = members.given(keys + index).filter(|_| is_whole).and_then(Result::ok);
            let written = given.and_then(|given| column.ty.canonical(&given, self.times, &mut before.bytes).ok());
            is_whole = written.is_some();
            before.end(written.is_none_or(|canonical| canonical == Canonical::Null));
        }
        self.before = before;
        is_whole
    }
}
