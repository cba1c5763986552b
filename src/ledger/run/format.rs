//! The layout of a run file: how a row is cut, and the fixed parts. Bytes only.

use xxhash_rust::xxh3::xxh3_64;

use super::super::Producer;
use super::super::manifest::{FORMAT, Fields, Ids};
use super::super::rows::{BUCKETS, Extent, Row};

pub const PAGE: usize = 4096;
pub const CHECKSUM: usize = 4;
pub const EXTENT: usize = 34;
pub const EXTENTS_A_PAGE: usize = (PAGE - CHECKSUM) / EXTENT;
pub const FOOTER: usize = 96;
/// First rank and checksum for each bucket, and one entry more that ends the last.
pub const DIRECTORY: usize = 8 * (BUCKETS + 1);
const HEADER_MAGIC: &[u8; 8] = b"SRLDRUN1";
const FOOTER_MAGIC: &[u8; 8] = b"SRLDEND1";
/// Features a reader must know to read the file; none so far.
const FEATURES: u32 = 0;
/// XXH3-128 with the ledger's secret.
const IDENTITY_HASH: u32 = 1;
/// XXH3-64.
const CHECKSUM_HASH: u32 = 1;
const TAG_BITS: u32 = 16;
/// Id bits that neither group nor tag nor the low half hold, for no group bits.
const REST_BITS: u32 = 64 - TAG_BITS;
/// The shortest row head.
const MIN_HEAD: usize = 7;

pub fn checksum32(bytes: &[u8]) -> u32 {
    xxh3_64(bytes) as u32
}

/// Writes a page's checksum into its first four bytes.
pub fn seal_page(page: &mut [u8]) {
    let sum = checksum32(&page[CHECKSUM..]);
    page[..CHECKSUM].copy_from_slice(&sum.to_le_bytes());
}

pub fn is_page_intact(page: &[u8]) -> bool {
    page.len() == PAGE && page[..CHECKSUM] == checksum32(&page[CHECKSUM..]).to_le_bytes()
}

/// How the 128 bits of an identity and the position code are spread: group (implied by rank), tag, head, low half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Top bits of the identity that name the group, 8 to 32.
    pub group_bits: u32,
    /// Bytes of the row's head: the rest of the upper half, then the position code.
    pub head: usize,
}

impl Shape {
    /// 18 to 36 rows a group, and the shortest head that holds every code below `span`.
    pub fn of(rows: u64, span: u64) -> Self {
        let group_bits = (rows / 18).max(1).ilog2().clamp(8, 32);
        let code_bits = u64::BITS - span.saturating_sub(1).leading_zeros();
        let head = (REST_BITS - group_bits + code_bits).div_ceil(8) as usize;
        Self { group_bits, head: head.max(MIN_HEAD) }
    }

    pub fn row_len(self) -> usize {
        self.head + 16
    }

    pub fn rows_a_page(self) -> usize {
        (PAGE - CHECKSUM) / self.row_len()
    }

    pub fn groups_a_bucket(self) -> usize {
        1 << (self.group_bits - 8)
    }

    pub fn fences_len(self) -> usize {
        4 * (self.groups_a_bucket() + 1)
    }

    /// Of the group within its bucket.
    pub fn group_of(self, hi: u64) -> usize {
        (hi >> (64 - self.group_bits)) as usize & (self.groups_a_bucket() - 1)
    }

    pub fn tag_of(self, hi: u64) -> u16 {
        (hi >> self.rest_bits()) as u16
    }

    /// The upper half of an identity from what the prefix knows of it; the row's head holds the rest.
    pub fn upper(self, bucket: usize, group: usize, tag: u16) -> u64 {
        let group = (bucket << (self.group_bits - 8) | group) as u64;
        group << (64 - self.group_bits) | u64::from(tag) << self.rest_bits()
    }

    fn rest_bits(self) -> u32 {
        REST_BITS - self.group_bits
    }

    pub fn write_row(self, row: &Row, out: &mut Vec<u8>) {
        let rest = row.hi & ((1 << self.rest_bits()) - 1);
        let head = u128::from(row.code) << self.rest_bits() | u128::from(rest);
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&head.to_le_bytes());
        bytes[self.head..self.head + 8].copy_from_slice(&row.lo.to_le_bytes());
        bytes[self.head + 8..self.head + 16].copy_from_slice(&row.checksum.to_le_bytes());
        out.extend_from_slice(&bytes[..self.row_len()]);
    }

    /// `upper` is [`Shape::upper`] of the row's rank; `bytes` begins with the row.
    pub fn read_row(self, upper: u64, bytes: &[u8]) -> Option<Row> {
        let head = match self.head {
            // Rows are longer than 16 bytes, so the head can be read with what follows it and cut.
            short @ ..8 => u128::from(Fields(bytes).u64()? & ((1 << (8 * short)) - 1)),
            long => Fields(bytes).u128()? & (u128::MAX >> (128 - 8 * long)),
        };
        let mut fields = Fields(bytes.get(self.head..)?);
        Some(Row {
            hi: upper | head as u64 & ((1 << self.rest_bits()) - 1),
            lo: fields.u64()?,
            checksum: fields.u64()?,
            code: (head >> self.rest_bits()) as u64,
        })
    }
}

pub fn write_extent(extent: &Extent, out: &mut Vec<u8>) {
    out.extend_from_slice(&extent.code.to_le_bytes());
    out.extend_from_slice(&extent.partition.to_le_bytes());
    out.extend_from_slice(&extent.offset.to_le_bytes());
    out.extend_from_slice(&extent.second.to_le_bytes());
    out.extend_from_slice(&extent.producer.id.to_le_bytes());
    out.extend_from_slice(&extent.producer.epoch.to_le_bytes());
}

/// The first field of an extent alone.
pub fn extent_code(bytes: &[u8]) -> u64 {
    Fields(bytes).u64().unwrap_or(u64::MAX)
}

pub fn read_extent(bytes: &[u8]) -> Option<Extent> {
    let mut fields = Fields(bytes);
    let code = fields.u64()?;
    let partition = fields.u32()?;
    let offset = fields.u64()? as i64;
    let second = fields.u32()?;
    let producer = Producer { id: fields.u64()? as i64, epoch: fields.u16()? as i16 };
    Some(Extent { code, offset, producer, partition, second })
}

/// The first page: which ledger and which format the file belongs to.
pub fn header_page(ids: Ids, number: u64, generation: u32) -> Vec<u8> {
    let mut page = Vec::with_capacity(PAGE);
    page.extend_from_slice(&[0; CHECKSUM]);
    page.extend_from_slice(HEADER_MAGIC);
    for field in [FORMAT, FEATURES, IDENTITY_HASH, CHECKSUM_HASH] {
        page.extend_from_slice(&field.to_le_bytes());
    }
    page.extend_from_slice(&ids.secret.to_le_bytes());
    page.extend_from_slice(&ids.ledger.to_le_bytes());
    page.extend_from_slice(&number.to_le_bytes());
    page.extend_from_slice(&generation.to_le_bytes());
    page.resize(PAGE, 0);
    seal_page(&mut page);
    page
}

/// Where a run's parts lie. All follows from the numbers in it; see `docs/ledger-format.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub shape: Shape,
    pub rows: u64,
    pub extents: u64,
}

impl Layout {
    pub fn row_pages(&self) -> u64 {
        self.rows.div_ceil(self.shape.rows_a_page() as u64)
    }

    pub fn prefix_at(&self) -> u64 {
        PAGE as u64 * (1 + self.row_pages())
    }

    /// Fences of every bucket and two bytes of tag for every row.
    pub fn prefix_len(&self) -> u64 {
        (self.shape.fences_len() * BUCKETS) as u64 + 2 * self.rows
    }

    /// Where the prefix of a bucket lies that starts at rank `first`.
    pub fn bucket_at(&self, bucket: usize, first: u32) -> u64 {
        self.prefix_at() + (self.shape.fences_len() * bucket) as u64 + 2 * u64::from(first)
    }

    pub fn extents_at(&self) -> u64 {
        self.prefix_at() + self.prefix_len()
    }

    pub fn extent_pages(&self) -> u64 {
        self.extents.div_ceil(EXTENTS_A_PAGE as u64)
    }

    pub fn directory_at(&self) -> u64 {
        self.extents_at() + PAGE as u64 * self.extent_pages()
    }

    pub fn file_len(&self) -> u64 {
        self.directory_at() + (DIRECTORY + FOOTER) as u64
    }
}

/// The last bytes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    pub layout: Layout,
    pub number: u64,
    pub span: u64,
    pub generation: u32,
    pub min_second: u32,
    pub max_second: u32,
    /// XXH3-64 of the directory before it.
    pub directory: u64,
    pub ids: Ids,
}

impl Footer {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = FOOTER_MAGIC.to_vec();
        for field in [self.layout.shape.group_bits, self.layout.shape.head as u32] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        for field in [self.layout.rows, self.layout.extents, self.span, self.number] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        for field in [self.generation, self.min_second, self.max_second, FORMAT] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        for field in [self.directory, self.ids.secret, self.ids.ledger as u64] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        let sum = xxh3_64(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// The footer and its checksum; `None` when the bytes are no footer of this ledger `ids`.
    pub fn decode(bytes: &[u8], ids: Ids) -> Option<(Self, u64)> {
        let sum = xxh3_64(bytes.get(..FOOTER - 8)?);
        let mut fields = Fields(bytes);
        if fields.bytes()? != *FOOTER_MAGIC {
            return None;
        }
        let shape = Shape { group_bits: fields.u32()?, head: fields.u32()? as usize };
        let layout = Layout { shape, rows: fields.u64()?, extents: fields.u64()? };
        let (span, number) = (fields.u64()?, fields.u64()?);
        let (generation, min_second, max_second) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let format = fields.u32()?;
        let directory = fields.u64()?;
        let same_ids = fields.u64()? == ids.secret && fields.u64()? == ids.ledger as u64;
        let is_sound = fields.u64()? == sum
            && format == FORMAT
            && same_ids
            && (8..=32).contains(&shape.group_bits)
            && (MIN_HEAD..=16).contains(&shape.head)
            && layout.rows <= u64::from(u32::MAX)
            && layout.extents <= 1 << 40
            && span >> 56 == 0;
        is_sound.then_some((Self { layout, number, span, generation, min_second, max_second, directory, ids }, sum))
    }
}
