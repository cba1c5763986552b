//! One body for the fuzz target `ledger` and for the tests: any bytes become a run file that is opened and read in
//! every way. Nothing may panic, and an answer is the right one unless the checksums themselves were made to fit.

use std::path::Path;
use std::sync::OnceLock;

use xxhash_rust::xxh3::xxh3_64;

use super::format::{DIRECTORY, EXTENTS_A_PAGE, FOOTER, Layout, PAGE, Shape, checksum32, seal_page};
use super::{Probe, ReadError, Run, RunHead, RunWriter};
use crate::ledger::files::{Faults, Files};
use crate::ledger::manifest::{Fields, Ids, RunRecord};
use crate::ledger::rows::{BUCKETS, Extent, Row, bucket_of};
use crate::ledger::{Producer, Seen};

const IDS: Ids = Ids { ledger: 0xFEED << 90 | 7, secret: 99 };
const NAME: &str = "run-00000003";

/// A sound run: its bytes, and what it holds.
struct Good {
    file: Vec<u8>,
    record: RunRecord,
    layout: Layout,
    buckets: Vec<Vec<Row>>,
    extents: Vec<Extent>,
}

fn files(dir: &Path) -> Files {
    Files::new(dir, false, Faults::default()).unwrap()
}

impl Good {
    /// Four rows an extent: the largest run has extents on several pages.
    fn write(rows: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut buckets = vec![Vec::new(); BUCKETS];
        for code in 0..rows {
            let hi = xxh3_64(&code.to_le_bytes());
            buckets[bucket_of(hi)].push(Row { hi, lo: !code, checksum: code << 7, code });
        }
        buckets.iter_mut().for_each(|rows| rows.sort_by_key(Row::identity));
        let extent = |code: u64| Extent {
            code,
            offset: 1000 + code as i64,
            producer: Producer::NONE,
            partition: code as u32 % 7,
            second: code as u32,
        };
        let extents: Vec<Extent> = (0..rows).step_by(4).map(extent).collect();
        let head = RunHead {
            ids: IDS,
            number: 3,
            generation: 5,
            min_second: 0,
            max_second: rows as u32,
            rows,
            extents: extents.len() as u64,
            span: rows,
        };
        let files = files(dir.path());
        let mut writer = RunWriter::create(&files, NAME, head).unwrap();
        buckets.iter().for_each(|rows| writer.bucket(rows).unwrap());
        writer.extents(extents.iter().copied()).unwrap();
        let record = writer.finish().unwrap();
        let layout = Layout { shape: Shape::of(rows, rows), rows, extents: extents.len() as u64 };
        Self { file: std::fs::read(files.path(NAME)).unwrap(), record, layout, buckets, extents }
    }

    /// Makes every checksum fit what the file says now.
    fn reseal(&self, file: &mut [u8]) {
        let directory_at = self.layout.directory_at() as usize;
        let footer_at = directory_at + DIRECTORY;
        let rows_until = self.layout.prefix_at() as usize;
        let extents_at = self.layout.extents_at() as usize;
        file[PAGE..rows_until].chunks_mut(PAGE).for_each(seal_page);
        file[extents_at..directory_at].chunks_mut(PAGE).for_each(seal_page);
        let mut first = 0;
        for (bucket, rows) in self.buckets.iter().enumerate() {
            let at = self.layout.bucket_at(bucket, first) as usize;
            let sum = checksum32(&file[at..at + self.layout.shape.fences_len() + 2 * rows.len()]);
            file[directory_at + 8 * bucket + 4..][..4].copy_from_slice(&sum.to_le_bytes());
            first += rows.len() as u32;
        }
        let sum = xxh3_64(&file[directory_at..footer_at]);
        file[footer_at + 64..][..8].copy_from_slice(&sum.to_le_bytes());
        let sum = xxh3_64(&file[footer_at..footer_at + FOOTER - 8]);
        file[footer_at + FOOTER - 8..].copy_from_slice(&sum.to_le_bytes());
    }
}

fn good(choice: u8) -> &'static Good {
    static GOOD: [OnceLock<Good>; 3] = [const { OnceLock::new() }; 3];
    let at = usize::from(choice) % GOOD.len();
    GOOD[at].get_or_init(|| Good::write([1, 60, 11_000][at]))
}

/// The first byte says how a file comes of the others: they are the file; they edit a sound one; they edit a sound one
/// whose checksums are then made to fit. The second says whether the run is resident.
pub fn check(input: &[u8]) {
    let [kind, choice, rest @ ..] = input else { return };
    let good = good(*choice);
    let is_resident = choice & 128 != 0;
    match kind % 3 {
        0 => {
            let (file, record) = (rest.to_vec(), record_of(rest));
            drop(read_all(&file, record, is_resident, usize::MAX, good));
        }
        1 => {
            let (mut file, cut) = (good.file.clone(), edited(good.file.len(), rest));
            cut.edits.iter().for_each(|&(at, bits)| file[at] ^= bits);
            // An edit is found by a checksum, or lies where nothing is: every answer is right or refused.
            if let Some(found) = read_all(&file, good.record, is_resident, cut.len, good) {
                found.assert_right(good);
            }
        }
        _ => {
            let (mut file, cut) = (good.file.clone(), edited(good.file.len(), rest));
            cut.edits.iter().for_each(|&(at, bits)| file[at] ^= bits);
            good.reseal(&mut file);
            let record = record_of(&file);
            drop(read_all(&file, record, is_resident, cut.len, good));
        }
    }
}

struct Edits {
    /// Place, and the bits to be flipped there.
    edits: Vec<(usize, u8)>,
    /// Length the file is cut to once it is open.
    len: usize,
}

/// Five bytes an edit: what it changes, where, and the bits to flip.
fn edited(len: usize, input: &[u8]) -> Edits {
    let mut edits = Edits { edits: Vec::new(), len: usize::MAX };
    for edit in input.chunks_exact(5) {
        let place = u32::from_le_bytes([edit[0], edit[1], edit[2], 0]) as usize;
        match edit[3] % 64 {
            // Seldom: most of these end the matter when the run is opened.
            0 => edits.len = place % len,
            1 => edits.edits.push((len - 1 - place % FOOTER, edit[4])),
            2 => edits.edits.push((len - 1 - FOOTER - place % DIRECTORY, edit[4])),
            3..48 => edits.edits.push((place % len, edit[4])),
            _ => edits.edits.push((len - 1 - place % (len / 2), edit[4])),
        }
    }
    edits
}

/// A record of the manifest that agrees with the file's own footer.
fn record_of(file: &[u8]) -> RunRecord {
    let footer = &file[file.len().saturating_sub(FOOTER)..];
    let mut fields = Fields(footer.get(16..).unwrap_or_default());
    let mut u64 = || fields.u64().unwrap_or_default();
    let [rows, _extents, span, number] = [u64(), u64(), u64(), u64()];
    let mut u32 = || fields.u32().unwrap_or_default();
    let [generation, min_second, max_second] = [u32(), u32(), u32()];
    let footer_checksum = xxh3_64(footer.get(..FOOTER - 8).unwrap_or_default());
    RunRecord { number, generation, rows, span, len: file.len() as u64, footer_checksum, min_second, max_second }
}

/// What reading a run gave; `None` where it was damaged.
struct Found {
    buckets: Vec<Option<Vec<Row>>>,
    extents: Vec<Option<Vec<Extent>>>,
    /// Of every row of the sound run.
    seen: Vec<(Row, Option<Vec<Seen>>)>,
}

/// Opens a file and reads all of it, after it was cut to `len`; `None` when it is refused.
fn read_all(file: &[u8], record: RunRecord, is_resident: bool, len: usize, good: &Good) -> Option<Found> {
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());
    let path = files.path(NAME);
    std::fs::write(&path, file).unwrap();
    let mut run = Run::open(&files, NAME, record, IDS).ok()?;
    if len < file.len() {
        std::fs::File::options().write(true).open(&path).and_then(|file| file.set_len(len as u64)).unwrap();
    }
    if is_resident {
        run.hold_extents().unwrap();
        run.hold_prefix().unwrap();
        assert!(run.resident_bytes() <= 2 * file.len(), "memory is bounded by the file");
    }
    // The largest a merge can have: a code must not overflow.
    let shift = u64::MAX - record.span;
    let sound = |error: ReadError| assert!(matches!(error, ReadError::Damaged(_)), "{error:?}");
    let mut scratch = Vec::new();
    let buckets = (0..BUCKETS).map(|bucket| {
        let mut rows = Vec::new();
        run.load_bucket(bucket, shift, &mut scratch, &mut rows).map_err(sound).ok()?;
        assert_eq!(rows.len(), run.bucket_len(bucket), "a merge counts on it");
        rows.iter_mut().for_each(|row| row.code -= shift);
        Some(rows)
    });
    let buckets = buckets.collect();
    let extents = run.extent_pages(shift).map(|page| {
        let mut extents = page.map_err(sound).ok()?;
        extents.iter_mut().for_each(|extent| extent.code -= shift);
        Some(extents)
    });
    let extents = extents.collect();
    let rows = good.buckets.iter().flatten().step_by(1 + good.record.rows as usize / 500);
    let seen = rows.map(|row| (*row, seen(&run, row)));
    Some(Found { seen: seen.collect(), buckets, extents })
}

fn seen(run: &Run, row: &Row) -> Option<Vec<Seen>> {
    let (mut probe, mut scratch, mut seen) = (Probe::default(), Vec::new(), Vec::new());
    match run.prefix(bucket_of(row.hi), &mut scratch) {
        Ok(prefix) => run.sightings(&prefix, row.hi, row.lo, &mut probe, &mut seen).unwrap(),
        Err(error) => run.note(error, &mut probe.damage).unwrap(),
    }
    (probe.damage.is_empty() || !seen.is_empty()).then_some(seen)
}

impl Found {
    fn assert_right(&self, good: &Good) {
        for (found, written) in self.buckets.iter().zip(&good.buckets) {
            assert!(found.as_ref().is_none_or(|rows| rows == written));
        }
        for (found, written) in self.extents.iter().zip(good.extents.chunks(EXTENTS_A_PAGE)) {
            assert!(found.as_ref().is_none_or(|extents| extents == written));
        }
        for (row, found) in &self.seen {
            let extent = good.extents[row.code as usize / 4];
            assert!(found.as_ref().is_none_or(|found| *found == [extent.seen(row.code, row.checksum)]));
        }
    }
}
