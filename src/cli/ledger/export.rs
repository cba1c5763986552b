//! `sordini ledger export`: all kept sightings as CSV or Parquet. Identities stay hashes. A file is complete or absent.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use super::{FileForm, check_output};
use crate::cli::common::exit;
use crate::engine::trace::AtRest;
use crate::ledger::{Key, Producer, Scanned, Seen};
use crate::report::{thousands, utc};

const COLUMNS: [&str; 8] =
    ["identity", "topic", "partition", "offset", "timestamp", "checksum", "producer_id", "producer_epoch"];
/// The same columns; times in milliseconds, exact to the second.
const SCHEMA: &str = "message sighting {
    required binary identity (STRING);
    required binary topic (STRING);
    required int32 partition;
    required int64 offset;
    required int64 timestamp (TIMESTAMP(MILLIS, true));
    required binary checksum (STRING);
    optional int64 producer_id;
    optional int32 producer_epoch (INTEGER(16, true));
}";
const ROW_GROUP: usize = 256 << 10;

pub fn run(dir: &Path, key: Option<&Key>, output: Option<&Path>, format: Option<FileForm>) -> anyhow::Result<u8> {
    check_output(output)?;
    let by_name = || output.is_some_and(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    let format = format.unwrap_or(if by_name() { FileForm::Parquet } else { FileForm::Csv });
    let ledger = AtRest::open(dir, key)?;
    let done = match output {
        None => write(&ledger, format, &mut BufWriter::new(io::stdout()))?,
        Some(path) => {
            let place = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let made = || format!("creating {}", path.display());
            let file = tempfile::NamedTempFile::new_in(place).with_context(made)?;
            let mut out = BufWriter::new(file);
            let done = write(&ledger, format, &mut out)?;
            let file = out.into_inner().map_err(|error| error.into_error()).with_context(made)?;
            file.persist(path).with_context(made)?;
            done
        }
    };
    if output.is_some() {
        eprintln!("sordini: {} sightings written", thousands(done.rows));
    }
    for damage in &done.damage {
        eprintln!("sordini: {damage}; see `sordini ledger verify`");
    }
    Ok(if done.damage.is_empty() { exit::CLEAN } else { exit::UNVERIFIED })
}

#[derive(Default)]
struct Done {
    rows: u64,
    damage: Vec<String>,
}

/// A sighting as it is written.
struct Line<'a> {
    identity: u128,
    topic: &'a str,
    partition: i32,
    seen: Seen,
}

impl Line<'_> {
    fn producer(&self) -> Option<Producer> {
        Some(self.seen.producer).filter(|producer| producer.id >= 0)
    }
}

fn write(ledger: &AtRest, format: FileForm, out: &mut (dyn Write + Send)) -> anyhow::Result<Done> {
    match format {
        FileForm::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            csv.write_record(COLUMNS).map_err(into_io)?;
            let done = each(ledger, &mut |line| Ok(write_csv(&mut csv, &line).map_err(into_io)?))?;
            csv.flush()?;
            Ok(done)
        }
        FileForm::Parquet => {
            let mut parquet = Parquet::new(out)?;
            let done = each(ledger, &mut |line| parquet.push(&line))?;
            parquet.finish()?;
            Ok(done)
        }
    }
}

fn each(ledger: &AtRest, visit: &mut dyn FnMut(Line<'_>) -> anyhow::Result<()>) -> anyhow::Result<Done> {
    let mut done = Done::default();
    for item in ledger.ledger.scan()? {
        match item? {
            Scanned::Sighting { identity, seen } => {
                let (topic, partition) = ledger.name(seen.partition);
                visit(Line { identity, topic, partition, seen })?;
                done.rows += 1;
            }
            Scanned::Damaged(damage) => done.damage.push(AtRest::words(&damage)),
        }
    }
    Ok(done)
}

fn write_csv(csv: &mut csv::Writer<impl Write>, line: &Line<'_>) -> csv::Result<()> {
    let producer = line.producer();
    csv.write_record([
        format!("{:032x}", line.identity),
        line.topic.to_owned(),
        line.partition.to_string(),
        line.seen.offset.to_string(),
        utc(i64::from(line.seen.second) * 1000),
        format!("{:016x}", line.seen.checksum),
        producer.map_or_else(String::new, |producer| producer.id.to_string()),
        producer.map_or_else(String::new, |producer| producer.epoch.to_string()),
    ])
}

/// So that a closed pipe is seen to be one.
fn into_io(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        kind => io::Error::other(format!("{kind:?}")),
    }
}

/// Gathers columns and writes them group by group.
struct Parquet<W: Write + Send> {
    file: SerializedFileWriter<W>,
    identities: Vec<ByteArray>,
    topics: Vec<ByteArray>,
    partitions: Vec<i32>,
    offsets: Vec<i64>,
    times: Vec<i64>,
    checksums: Vec<ByteArray>,
    producers: Vec<i64>,
    epochs: Vec<i32>,
    /// 1 for a row with a producer, else 0.
    has_producer: Vec<i16>,
}

impl<W: Write + Send> Parquet<W> {
    fn new(out: W) -> anyhow::Result<Self> {
        // Hashes hardly repeat: a dictionary of them costs and gains nothing.
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_column_dictionary_enabled(ColumnPath::from("identity"), false)
            .set_column_dictionary_enabled(ColumnPath::from("checksum"), false)
            .build();
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        Ok(Self {
            file: SerializedFileWriter::new(out, schema, Arc::new(properties))?,
            identities: Vec::new(),
            topics: Vec::new(),
            partitions: Vec::new(),
            offsets: Vec::new(),
            times: Vec::new(),
            checksums: Vec::new(),
            producers: Vec::new(),
            epochs: Vec::new(),
            has_producer: Vec::new(),
        })
    }

    fn push(&mut self, line: &Line<'_>) -> anyhow::Result<()> {
        self.identities.push(format!("{:032x}", line.identity).into_bytes().into());
        self.topics.push(line.topic.as_bytes().to_vec().into());
        self.partitions.push(line.partition);
        self.offsets.push(line.seen.offset);
        self.times.push(i64::from(line.seen.second) * 1000);
        self.checksums.push(format!("{:016x}", line.seen.checksum).into_bytes().into());
        let producer = line.producer();
        self.producers.extend(producer.map(|producer| producer.id));
        self.epochs.extend(producer.map(|producer| i32::from(producer.epoch)));
        self.has_producer.push(i16::from(producer.is_some()));
        if self.identities.len() == ROW_GROUP { self.write_group() } else { Ok(()) }
    }

    fn write_group(&mut self) -> anyhow::Result<()> {
        let mut group = self.file.next_row_group()?;
        let mut number = 0;
        while let Some(mut column) = group.next_column()? {
            let written = match (number, column.untyped()) {
                (0, ColumnWriter::ByteArrayColumnWriter(to)) => to.write_batch(&self.identities, None, None),
                (1, ColumnWriter::ByteArrayColumnWriter(to)) => to.write_batch(&self.topics, None, None),
                (2, ColumnWriter::Int32ColumnWriter(to)) => to.write_batch(&self.partitions, None, None),
                (3, ColumnWriter::Int64ColumnWriter(to)) => to.write_batch(&self.offsets, None, None),
                (4, ColumnWriter::Int64ColumnWriter(to)) => to.write_batch(&self.times, None, None),
                (5, ColumnWriter::ByteArrayColumnWriter(to)) => to.write_batch(&self.checksums, None, None),
                (6, ColumnWriter::Int64ColumnWriter(to)) => {
                    to.write_batch(&self.producers, Some(&self.has_producer), None)
                }
                (7, ColumnWriter::Int32ColumnWriter(to)) => {
                    to.write_batch(&self.epochs, Some(&self.has_producer), None)
                }
                _ => Err(ParquetError::General("the columns are not those of the schema".to_owned())),
            };
            written?;
            column.close()?;
            number += 1;
        }
        group.close()?;
        self.clear();
        Ok(())
    }

    fn clear(&mut self) {
        self.identities.clear();
        self.topics.clear();
        self.partitions.clear();
        self.offsets.clear();
        self.times.clear();
        self.checksums.clear();
        self.producers.clear();
        self.epochs.clear();
        self.has_producer.clear();
    }

    fn finish(mut self) -> anyhow::Result<()> {
        if !self.identities.is_empty() {
            self.write_group()?;
        }
        self.file.close()?;
        Ok(())
    }
}
