//! Walking records: `length, attributes, timestampDelta, offsetDelta, key, value, headers`, all borrowed.

use super::batch::BatchHeader;
use super::varint;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub offset: i64,
    /// Milliseconds since 1970, −1 when there is none.
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {index} of the batch does not parse: {what}")]
pub struct RecordError {
    pub index: i32,
    pub what: &'static str,
}

/// Iterates over the records of one batch. After an error it ends. Bytes behind the last record are an error too, at
/// the end of the walk: a count that is too small would otherwise hide records.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    buf: &'a [u8],
    at: usize,
    index: i32,
    count: i32,
    base_offset: i64,
    last_offset_delta: i32,
    previous_delta: i32,
    base_timestamp: i64,
    append_time: Option<i64>,
}

impl<'a> Records<'a> {
    pub fn of_batch(header: &BatchHeader, body: &'a [u8]) -> Self {
        Self {
            buf: body,
            at: 0,
            index: 0,
            count: header.records_count,
            base_offset: header.base_offset,
            last_offset_delta: header.last_offset_delta,
            previous_delta: -1,
            base_timestamp: header.base_timestamp,
            append_time: header.is_log_append_time().then_some(header.max_timestamp),
        }
    }

    /// Records in the batch's encoding that did not come in a batch: see [`super::encode::RecordBuffer`].
    pub fn of_buffer(
        body: &'a [u8],
        count: i32,
        base_offset: i64,
        last_offset_delta: i32,
        base_timestamp: i64,
    ) -> Self {
        Self {
            buf: body,
            at: 0,
            index: 0,
            count,
            base_offset,
            last_offset_delta,
            previous_delta: -1,
            base_timestamp,
            append_time: None,
        }
    }

    pub fn empty() -> Self {
        Self::of_buffer(&[], 0, 0, -1, 0)
    }

    /// Records not yet handed out, as the header counts them.
    pub fn remaining(&self) -> usize {
        (self.count - self.index).max(0) as usize
    }

    #[cold]
    fn fail(&mut self, what: &'static str) -> Option<Result<Record<'a>, RecordError>> {
        let index = self.index;
        self.index = self.count;
        self.at = self.buf.len();
        Some(Err(RecordError { index, what }))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.count {
            return if self.at < self.buf.len() { self.fail("bytes left over behind the last record") } else { None };
        }
        let Some(length) = varint::read_i32(self.buf, &mut self.at) else { return self.fail("length cut off") };
        let Some(end) =
            usize::try_from(length).ok().and_then(|n| self.at.checked_add(n)).filter(|&e| e <= self.buf.len())
        else {
            return self.fail("length runs past the batch");
        };
        let body = &self.buf[..end];
        let mut at = self.at + 1; // attributes: unused
        let Some(timestamp_delta) = varint::read_i64(body, &mut at) else { return self.fail("timestamp cut off") };
        let Some(offset_delta) = varint::read_i32(body, &mut at) else { return self.fail("offset cut off") };
        if offset_delta <= self.previous_delta || offset_delta > self.last_offset_delta {
            return self.fail("offset outside the batch or not rising");
        }
        let Some(key) = bytes(body, &mut at) else { return self.fail("key runs past the record") };
        let Some(value) = bytes(body, &mut at) else { return self.fail("value runs past the record") };
        let Some(header_count) = varint::read_i32(body, &mut at).filter(|&n| n >= 0) else {
            return self.fail("header count");
        };
        let headers = Headers { buf: &body[at..], left: header_count, record: self.index };
        if !headers.fill_their_place() {
            return self.fail("headers do not end where the record ends");
        }
        self.at = end;
        self.index += 1;
        self.previous_delta = offset_delta;
        Some(Ok(Record {
            offset: self.base_offset + i64::from(offset_delta),
            timestamp: self.append_time.unwrap_or(self.base_timestamp.wrapping_add(timestamp_delta)),
            key,
            value,
            headers,
        }))
    }
}

/// `length, bytes` with −1 for null. The outer `None` means it does not fit.
#[inline(always)]
fn bytes<'a>(body: &'a [u8], at: &mut usize) -> Option<Option<&'a [u8]>> {
    let length = varint::read_i32(body, at)?;
    if length < 0 {
        return (length == -1).then_some(None);
    }
    let end = at.checked_add(length as usize)?;
    let found = body.get(*at..end)?;
    *at = end;
    Some(Some(found))
}

/// The headers of a record, in their order; keys may repeat and need not be UTF-8. The walk over the records has already
/// checked them, so that damage is found whether anybody asks for a header or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    buf: &'a [u8],
    left: i32,
    /// Index of their record, for errors.
    record: i32,
}

impl<'a> Headers<'a> {
    pub fn empty() -> Self {
        Self { buf: &[], left: 0, record: 0 }
    }

    pub fn len(&self) -> usize {
        self.left.max(0) as usize
    }

    pub fn is_empty(&self) -> bool {
        self.left <= 0
    }

    #[inline]
    fn fill_their_place(mut self) -> bool {
        while self.left > 0 {
            if !matches!(self.next(), Some(Ok(_))) {
                return false;
            }
        }
        self.buf.is_empty()
    }

    /// Value of the *last* header of that name (as Kafka's own `lastHeader`): outer `None` when there is none, inner
    /// for a null value.
    #[inline]
    pub fn last(self, name: &[u8]) -> Result<Option<Option<&'a [u8]>>, RecordError> {
        let mut found = None;
        for header in self {
            let (key, value) = header?;
            if key == name {
                found = Some(value);
            }
        }
        Ok(found)
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Result<(&'a [u8], Option<&'a [u8]>), RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        let mut at = 0;
        match (bytes(self.buf, &mut at), bytes(self.buf, &mut at)) {
            (Some(Some(key)), Some(value)) => {
                self.buf = &self.buf[at..];
                Some(Ok((key, value)))
            }
            _ => {
                self.left = 0;
                Some(Err(RecordError { index: self.record, what: "header runs past the record, or its key is null" }))
            }
        }
    }
}
