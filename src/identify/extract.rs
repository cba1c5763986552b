//! From a record to its observation, by the rules the user gave.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::hash::{IdentityHasher, checksum, key_hash};
use super::json::{Found, Pointer};
use super::observations::{Arrival, Observations, Says};
use super::spec::Spec;
use super::steps::{StageRules, Step};
use crate::audit::finding::Rung;
use crate::wire::{Headers, Record};

/// How numbers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Decimal text when every byte is a digit, else a big-endian integer of 1, 2, 4 or 8 bytes.
    #[default]
    Auto,
    Decimal,
    BigEndian,
}

/// What to look at in every record.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub id: Option<Spec>,
    pub session: Option<Spec>,
    pub sequence: Option<Spec>,
    /// Where a record declares its session over and names the last number.
    pub sequence_end: Option<Spec>,
    pub encoding: Encoding,
    /// Numbers run over all partitions of a topic instead of within each.
    pub topic_scope: bool,
    pub show_keys: bool,
    /// Set when the topic is a stage of a flow; `id` is the correlation id then.
    pub stage: Option<StageRules>,
}

impl Rules {
    /// Whether records must be looked into at all; the producer's own numbers need only batch headers.
    pub fn need_records(&self) -> bool {
        self.row_identity().is_some() || self.sequence.is_some()
    }

    /// The identity that costs a ledger row a record, if any.
    pub fn row_identity(&self) -> Option<&Spec> {
        self.id.as_ref().filter(|spec| **spec != Spec::Producer)
    }

    /// Without an id, a numbered session's (session, number) is the identity.
    pub fn identity_is_number(&self) -> bool {
        self.row_identity().is_none() && self.sequence.is_some()
    }

    pub fn rung(&self) -> Rung {
        match self.row_identity() {
            Some(Spec::Content) => Rung::Content,
            Some(_) => Rung::Id,
            None if self.sequence.is_some() => Rung::Session,
            None => Rung::Producer,
        }
    }
}

/// Why a rule did not fit a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("{rule} finds nothing")]
    Absent { rule: String },
    #[error("the value is no JSON ({why})")]
    NoJson { why: String },
    #[error("{rule} gives \"{found}\", which is no whole number")]
    NoNumber { rule: String, found: String },
    #[error("its headers do not parse")]
    BadHeaders,
    /// A tombstone under a rule that reads the value: nothing is wrong with it.
    #[error("the value is null")]
    Tombstone,
}

/// Applies the rules to the records of one topic.
pub struct Identifier {
    rules: Rules,
    hasher: IdentityHasher,
    /// Partition to mix into session names under partition scope.
    partition: Option<i32>,
    known: rustc_hash::FxHashSet<u64>,
    last_session: Option<u64>,
}

impl Identifier {
    pub fn new(rules: Rules, secret: &[u8; 192], topic: &str, partition: i32) -> Self {
        let partition = (!rules.topic_scope).then_some(partition);
        let hasher = IdentityHasher::new(secret, topic);
        Self { rules, hasher, partition, known: Default::default(), last_session: None }
    }

    /// Adds the record to the columns. A record may fit one rule and not the other; the first misfit is returned.
    /// `rank`: records observed on the partition before it.
    pub fn observe(
        &mut self,
        record: &Record<'_>,
        stream_time: i64,
        rank: u64,
        out: &mut Observations,
    ) -> Result<(), Misfit> {
        let checksum = checksum(record);
        let rows = out.sightings.identities.len();
        let identified = self.identify(record, checksum, out).and_then(|()| match (&self.rules.stage, rows) {
            (Some(stage), rows) if rows < out.sightings.identities.len() => {
                let id = self.hasher.turn(out.sightings.identities[rows]);
                let step = stage.step(record, id, checksum)?;
                let facts = out.facts.number(record, stage.deploy.as_deref());
                out.steps.push(Step { stream_time, rank, facts, ..step });
                Ok(())
            }
            _ => Ok(()),
        });
        let numbered = self.number(record, checksum, stream_time, out);
        identified.and(numbered)
    }

    /// Whether the topic is a stage of a flow.
    pub fn is_stage(&self) -> bool {
        self.rules.stage.is_some()
    }

    pub fn is_numbered(&self) -> bool {
        self.rules.sequence.is_some()
    }

    /// Rows gathered so far of which the producers are noted: sightings, or what will become of them.
    pub fn rows(&self, seen: &Observations) -> usize {
        if self.rules.identity_is_number() { seen.arrivals.len() } else { seen.sightings.offsets.len() }
    }

    fn identify(&mut self, record: &Record<'_>, checksum: u64, out: &mut Observations) -> Result<(), Misfit> {
        let Some(spec) = self.rules.row_identity() else { return Ok(()) };
        let (rung, hasher) = (self.rules.rung(), &mut self.hasher);
        let identity = match spec {
            Spec::Content => {
                let null = |bytes: Option<&[u8]>| [u8::from(bytes.is_some())];
                let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
                hasher.identity(rung, &[&null(record.key), key, &null(record.value), value])
            }
            Spec::CloudEvents => {
                let (source, id) = cloud_event(record)?;
                hasher.identity(rung, &[&source, &id])
            }
            Spec::Debezium => debezium(record, |parts| hasher.identity(rung, parts))?,
            spec => {
                let value = field(spec, record)?.ok_or_else(|| Misfit::Absent { rule: spec.to_string() })?;
                hasher.identity(rung, &[&value])
            }
        };
        if self.rules.show_keys {
            let value = field(spec, record).ok().flatten();
            out.values.push((identity, value.map_or_else(String::new, |v| String::from_utf8_lossy(&v).into_owned())));
        }
        let rows = &mut out.sightings;
        rows.offsets.push(record.offset);
        rows.timestamps.push(record.timestamp);
        rows.identities.push(identity);
        rows.checksums.push(checksum);
        Ok(())
    }

    fn number(
        &mut self,
        record: &Record<'_>,
        checksum: u64,
        stream_time: i64,
        out: &mut Observations,
    ) -> Result<(), Misfit> {
        let Some(sequence) = &self.rules.sequence else { return Ok(()) };
        let says = match number(sequence, self.rules.encoding, record)? {
            Some(number) => Says::Number(number),
            None => {
                let end = match &self.rules.sequence_end {
                    Some(spec) => number(spec, self.rules.encoding, record)?,
                    None => None,
                };
                Says::End(end.ok_or_else(|| Misfit::Absent { rule: sequence.to_string() })?)
            }
        };
        let session = match &self.rules.session {
            None => Cow::Borrowed(&b""[..]),
            Some(spec) => field(spec, record)?.ok_or_else(|| Misfit::Absent { rule: spec.to_string() })?,
        };
        let name = self.hasher.session(&session, self.partition);
        if self.last_session != Some(name) {
            self.last_session = Some(name);
            if self.known.insert(name) {
                out.labels.push((name, label(&self.rules, &session, name)));
                if self.rules.session == Some(Spec::Key) {
                    out.keys.push((name, key_hash(record)));
                }
            }
        }
        let (offset, timestamp) = (record.offset, record.timestamp);
        out.arrivals.push(Arrival { session: name, says, offset, timestamp, stream_time, checksum });
        Ok(())
    }
}

/// Session names are shown when they come from a header; a session named by the key or the content is a key in clear.
fn label(rules: &Rules, session: &[u8], name: u64) -> String {
    match &rules.session {
        None => "all".to_owned(),
        Some(Spec::Header(_)) => clear(session),
        Some(_) if rules.show_keys => clear(session),
        Some(_) => format!("#{name:016x}"),
    }
}

fn clear(bytes: &[u8]) -> String {
    const LONGEST: usize = 120;
    let text = String::from_utf8_lossy(bytes);
    text.chars().take(LONGEST).collect()
}

/// The bytes a simple rule points at; `Ok(None)` when there are none.
pub(super) fn field<'a>(spec: &Spec, record: &Record<'a>) -> Result<Option<Cow<'a, [u8]>>, Misfit> {
    match spec {
        Spec::Key => Ok(record.key.map(Cow::Borrowed)),
        Spec::Header(name) => Ok(header(record.headers, name.as_bytes())?.map(Cow::Borrowed)),
        Spec::Json(pointer) => json(pointer, record),
        Spec::CloudEvents => cloud_event(record).map(|(source, id)| {
            let mut both = source.into_owned();
            both.push(b' ');
            both.extend_from_slice(&id);
            Some(Cow::Owned(both))
        }),
        Spec::Content | Spec::Debezium | Spec::Producer => Ok(None),
    }
}

fn header<'a>(headers: Headers<'a>, name: &[u8]) -> Result<Option<&'a [u8]>, Misfit> {
    headers.last(name).map(Option::flatten).map_err(|_| Misfit::BadHeaders)
}

fn json<'a>(pointer: &Pointer, record: &Record<'a>) -> Result<Option<Cow<'a, [u8]>>, Misfit> {
    let value = record.value.ok_or(Misfit::Tombstone)?;
    let found = pointer.find(value).map_err(|why| Misfit::NoJson { why })?;
    Ok(found.map(|found| match found {
        Found::Text(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
        Found::Text(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        Found::Other(text) => Cow::Borrowed(text.as_bytes()),
    }))
}

fn number(spec: &Spec, encoding: Encoding, record: &Record<'_>) -> Result<Option<i64>, Misfit> {
    let Some(bytes) = field(spec, record)? else { return Ok(None) };
    parse_number(&bytes, encoding)
        .map(Some)
        .ok_or_else(|| Misfit::NoNumber { rule: spec.to_string(), found: clear(&bytes) })
}

/// A number below zero or above 2⁶³ − 1 is none.
fn parse_number(bytes: &[u8], encoding: Encoding) -> Option<i64> {
    let decimal = || std::str::from_utf8(bytes).ok()?.parse::<i64>().ok();
    let big_endian = || match *bytes {
        [a] => Some(i64::from(a)),
        [a, b] => Some(i64::from(u16::from_be_bytes([a, b]))),
        [a, b, c, d] => Some(i64::from(u32::from_be_bytes([a, b, c, d]))),
        [a, b, c, d, e, f, g, h] => Some(i64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => None,
    };
    let number = match encoding {
        Encoding::Decimal => decimal(),
        Encoding::BigEndian => big_endian(),
        Encoding::Auto if bytes.iter().all(u8::is_ascii_digit) => decimal(),
        Encoding::Auto => big_endian(),
    };
    number.filter(|n| (0..i64::MAX).contains(n))
}

type SourceAndId<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// CloudEvents 1.0: source + id identify an event. Binary mode has them in `ce_` headers, structured mode in the value.
fn cloud_event<'a>(record: &Record<'a>) -> Result<SourceAndId<'a>, Misfit> {
    if let (Some(source), Some(id)) = (header(record.headers, b"ce_source")?, header(record.headers, b"ce_id")?) {
        return Ok((Cow::Borrowed(source), Cow::Borrowed(id)));
    }
    #[derive(Deserialize)]
    struct Structured<'a> {
        #[serde(borrow)]
        source: Option<Cow<'a, str>>,
        #[serde(borrow)]
        id: Option<Cow<'a, str>>,
    }
    let value = record.value.ok_or(Misfit::Tombstone)?;
    let event: Structured<'_> = serde_json::from_slice(value).map_err(|e| Misfit::NoJson { why: e.to_string() })?;
    match (event.source, event.id) {
        (Some(source), Some(id)) => Ok((owned_bytes(source), owned_bytes(id))),
        _ => Err(Misfit::Absent { rule: "cloudevents (source and id)".to_owned() }),
    }
}

fn owned_bytes<'a>(text: Cow<'_, str>) -> Cow<'a, [u8]> {
    Cow::Owned(text.into_owned().into_bytes())
}

/// The fields of a Debezium `source` block that together name one change in the database's log. Fields that a connector
/// does not have are absent; fields that may change between a change and its repetition (time, version) are left out.
#[derive(Default, Deserialize)]
#[serde(default)]
struct DebeziumSource<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    db: Option<&'a RawValue>,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
    #[serde(borrow)]
    table: Option<&'a RawValue>,
    #[serde(borrow)]
    collection: Option<&'a RawValue>,
    #[serde(borrow, rename = "txId")]
    tx_id: Option<&'a RawValue>,
    #[serde(borrow)]
    lsn: Option<&'a RawValue>,
    #[serde(borrow)]
    change_lsn: Option<&'a RawValue>,
    #[serde(borrow)]
    event_serial_no: Option<&'a RawValue>,
    #[serde(borrow)]
    file: Option<&'a RawValue>,
    #[serde(borrow)]
    pos: Option<&'a RawValue>,
    #[serde(borrow)]
    row: Option<&'a RawValue>,
    #[serde(borrow)]
    scn: Option<&'a RawValue>,
    #[serde(borrow)]
    ord: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DebeziumEnvelope<'a> {
    /// Present when the converter writes the schema along.
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<DebeziumSource<'a>>,
    #[serde(borrow)]
    op: Option<&'a RawValue>,
}

fn debezium<T>(record: &Record<'_>, hash: impl FnOnce(&[&[u8]]) -> T) -> Result<T, Misfit> {
    let value = record.value.ok_or(Misfit::Tombstone)?;
    let no_json = |error: serde_json::Error| Misfit::NoJson { why: error.to_string() };
    let mut envelope: DebeziumEnvelope<'_> = serde_json::from_slice(value).map_err(no_json)?;
    if let (None, Some(payload)) = (&envelope.source, envelope.payload) {
        envelope = serde_json::from_str(payload.get()).map_err(no_json)?;
    }
    let Some(source) = envelope.source else { return Err(Misfit::Absent { rule: "debezium (source)".to_owned() }) };
    let DebeziumSource { lsn, change_lsn, pos, scn, ord, tx_id, .. } = &source;
    if [lsn, change_lsn, pos, scn, ord, tx_id].iter().all(|field| field.is_none()) {
        return Err(Misfit::Absent { rule: "debezium (a log position in source)".to_owned() });
    }
    let fields = [
        source.name,
        source.db,
        source.schema,
        source.table,
        source.collection,
        source.tx_id,
        source.lsn,
        source.change_lsn,
        source.event_serial_no,
        source.file,
        source.pos,
        source.row,
        source.scn,
        source.ord,
        envelope.op,
    ];
    let mut parts = [&b""[..]; 16];
    for (part, field) in parts.iter_mut().zip(fields) {
        *part = field.map_or(&b""[..], |raw| raw.get().as_bytes());
    }
    parts[15] = record.key.unwrap_or_default();
    Ok(hash(&parts))
}
