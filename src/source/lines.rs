//! JSON lines from a file or standard input, as `kcat -C -J` prints them:
//! `{"topic","partition","offset","tstype","ts","headers":[k,v,…],"key","payload"}`, one record a line.
//!
//! Every field may be absent or null and unknown ones are ignored: topic `lines`, partition 0, no time, no key, no
//! value, no headers. Strings stand for their UTF-8 bytes; any other JSON value of key, payload or a header value is taken
//! as the text it is written in. Where the first record has no offset, no record has one: the line number serves instead,
//! and a line with an offset is unreadable. Otherwise a line without an offset is.
//!
//! A line that is no such object is reported as unreadable input, and reading goes on behind it. Blank lines hold nothing.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use super::{Assignment, Batch, Cleanup, Event, PartitionInfo, Reader, Sink, Source, SourceError};
use crate::wire::encode::RecordBuffer;
use line::Line;

mod line;

/// Longer lines are unreadable: nothing a broker accepts comes near, and memory must have a bound.
const LONGEST_LINE: usize = 64 << 20;
/// A batch is handed over at so many records or bytes …
const BATCH_RECORDS: usize = 4096;
const BATCH_BYTES: usize = 1 << 20;
/// … and all of them when so much is held back over all partitions.
const HELD_BYTES: usize = 64 << 20;

pub struct LinesSource {
    name: String,
    input: Box<dyn Read + Send>,
}

impl LinesSource {
    /// Opens a file, or standard input for `-`.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        if path == Path::new("-") {
            return Ok(Self::of("standard input", Box::new(io::stdin())));
        }
        let name = path.display().to_string();
        let failed = |source| SourceError::Io { what: format!("cannot open {name}"), source };
        let input = File::open(path).map_err(failed)?;
        Ok(Self::of(&name, Box::new(input)))
    }

    /// Reads from anything; `name` stands in messages.
    pub fn of(name: &str, input: Box<dyn Read + Send>) -> Self {
        Self { name: name.to_owned(), input }
    }
}

impl Source for LinesSource {
    /// None: the lines name them as they come.
    fn partitions(&mut self) -> Result<Vec<PartitionInfo>, SourceError> {
        Ok(Vec::new())
    }

    fn readers(self: Box<Self>, _: Vec<Assignment>) -> Result<Vec<Box<dyn Reader>>, SourceError> {
        Ok(vec![Box::new(LinesReader {
            name: self.name,
            input: BufReader::with_capacity(1 << 20, self.input),
            lanes: Lanes::default(),
            has_offsets: None,
        })])
    }
}

struct LinesReader {
    name: String,
    input: BufReader<Box<dyn Read + Send>>,
    lanes: Lanes,
    /// Whether lines carry their offset; the first record decides.
    has_offsets: Option<bool>,
}

impl Reader for LinesReader {
    fn run(&mut self, sink: &mut dyn Sink) -> Result<(), SourceError> {
        let mut line = Vec::new();
        for number in 1.. {
            // Before a read that may have to wait, what is there is handed over: a live pipe is not held back.
            if !self.input.buffer().contains(&b'\n') {
                self.lanes.flush_all(sink);
            }
            if sink.stopped() {
                return Ok(());
            }
            let read = self.read_line(&mut line);
            if !read.map_err(|source| SourceError::Io { what: format!("cannot read {}", self.name), source })? {
                break;
            }
            if let Err(why) = self.take(&line, number, sink) {
                sink.unreadable_input(&format!("{}:{number}", self.name), &why);
            }
        }
        self.lanes.finish(sink);
        Ok(())
    }
}

impl LinesReader {
    /// Reads the next line without its end; `false` at the end of the input. Of a line that is too long just more than
    /// the allowed bytes are kept, so that whoever looks at it can tell.
    fn read_line(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        let most = LONGEST_LINE as u64 + 1;
        if self.input.by_ref().take(most).read_until(b'\n', line)? == 0 {
            return Ok(false);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() > LONGEST_LINE {
            self.input.skip_until(b'\n')?;
        }
        Ok(true)
    }

    fn take(&mut self, line: &[u8], number: i64, sink: &mut dyn Sink) -> Result<(), String> {
        if line.len() > LONGEST_LINE {
            return Err(format!("longer than {} MiB", LONGEST_LINE >> 20));
        }
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let text = std::str::from_utf8(line).map_err(|e| format!("not UTF-8 from byte {} on", e.valid_up_to() + 1))?;
        let record = Line::parse(text)?;
        let offset = match (record.offset, *self.has_offsets.get_or_insert(record.offset.is_some())) {
            (Some(offset), true) if (0..i64::MAX).contains(&offset) => offset,
            (Some(offset), true) => return Err(format!("offset {offset} is none a log can have")),
            (None, true) => return Err("no offset, though earlier lines have one".to_owned()),
            (Some(_), false) => return Err("an offset, though earlier lines have none".to_owned()),
            (None, false) => number,
        };
        self.lanes.push(&record, offset, sink)
    }
}

fn bytes<'a>(text: &'a Option<Cow<'_, str>>) -> Option<&'a [u8]> {
    text.as_deref().map(str::as_bytes)
}

/// One partition met in the input and the records of it not yet handed over.
struct Lane {
    topic: Arc<str>,
    partition: i32,
    index: u32,
    buffer: RecordBuffer,
}

impl Lane {
    fn flush(&mut self, sink: &mut dyn Sink) {
        if self.buffer.is_empty() {
            return;
        }
        let batch = Batch {
            base_offset: self.buffer.base_offset(),
            until: self.buffer.until(),
            header: None,
            aborted: false,
            marker: None,
            records: self.buffer.records(),
            bytes: self.buffer.bytes(),
        };
        sink.event(self.index, Event::Batch(batch));
        sink.pass_on(self.index);
        self.buffer.clear();
    }
}

#[derive(Default)]
struct Lanes {
    lanes: Vec<Lane>,
    by_name: HashMap<Arc<str>, HashMap<i32, usize>>,
    /// Where the last record went: the next one mostly goes there too.
    last: usize,
    held_bytes: usize,
}

impl Lanes {
    fn push(&mut self, record: &Line<'_>, offset: i64, sink: &mut dyn Sink) -> Result<(), String> {
        // Everything that can fail comes first: a line is taken whole or not at all.
        let (key, value, headers) = (record.key()?, record.value()?, record.headers()?);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_bytes(), bytes(value))).collect();

        let at = self.lane(record.topic(), record.partition(), offset, sink);
        let lane = &mut self.lanes[at];
        let before = lane.buffer.bytes();
        if !lane.buffer.accepts(offset) || lane.buffer.len() >= BATCH_RECORDS || before >= BATCH_BYTES {
            lane.flush(sink);
            self.held_bytes -= before;
        }
        let before = lane.buffer.bytes();
        lane.buffer.push(offset, record.timestamp(), bytes(&key), bytes(&value), &headers);
        self.held_bytes += lane.buffer.bytes() - before;
        if self.held_bytes >= HELD_BYTES {
            self.flush_all(sink);
        }
        Ok(())
    }

    fn lane(&mut self, topic: &str, partition: i32, offset: i64, sink: &mut dyn Sink) -> usize {
        let is_last = |lane: &Lane| lane.partition == partition && &*lane.topic == topic;
        if !self.lanes.get(self.last).is_some_and(is_last) {
            let known = self.by_name.get(topic).and_then(|partitions| partitions.get(&partition));
            self.last = known.copied().unwrap_or_else(|| self.open(topic, partition, offset, sink));
        }
        self.last
    }

    fn open(&mut self, topic: &str, partition: i32, offset: i64, sink: &mut dyn Sink) -> usize {
        let name = self.by_name.get_key_value(topic).map_or_else(|| Arc::from(topic), |(name, _)| Arc::clone(name));
        let assignment = sink.register(PartitionInfo {
            topic: Arc::clone(&name),
            topic_id: None,
            partition,
            cleanup: Cleanup::Unknown,
            has_headers: false,
            from: offset,
            until: None,
            log_start: 0,
        });
        let at = self.lanes.len();
        let buffer = RecordBuffer::default();
        self.lanes.push(Lane { topic: Arc::clone(&name), partition, index: assignment.index, buffer });
        self.by_name.entry(name).or_default().insert(partition, at);
        at
    }

    fn flush_all(&mut self, sink: &mut dyn Sink) {
        self.lanes.iter_mut().for_each(|lane| lane.flush(sink));
        self.held_bytes = 0;
    }

    fn finish(&mut self, sink: &mut dyn Sink) {
        self.flush_all(sink);
        for lane in &self.lanes {
            sink.event(lane.index, Event::AtEnd);
            sink.pass_on(lane.index);
        }
    }
}

#[cfg(test)]
mod tests;
