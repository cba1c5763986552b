//! The four codecs, with a limit on what a batch may grow to. All decompress straight into one buffer that is kept from
//! batch to batch. Checksums inside the compressed formats are not needed: the batch's own CRC covers every byte.

use std::io::Read;

use flate2::bufread::MultiGzDecoder;
use zstd::stream::raw::{Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

use super::batch::Codec;

/// Reused buffer and contexts for decompressed records.
pub struct Scratch {
    out: Output,
    snappy: snap::raw::Decoder,
    /// Made when the first zstd batch comes: its window alone may take megabytes.
    zstd: Option<ZstdDecoder<'static>>,
}

impl Scratch {
    /// What a batch may decompress to before it counts as a bomb.
    pub const DEFAULT_LIMIT: usize = 256 << 20;
    /// Name of the setting that raises the limit, for the error message.
    pub const LIMIT_SETTING: &'static str = "-X sordini.max.batch.bytes";

    pub fn new(limit: usize) -> Self {
        Self { out: Output { bytes: Vec::new(), filled: 0, limit }, snappy: snap::raw::Decoder::new(), zstd: None }
    }

    /// Decompresses `body`; the error says what is wrong in one clause.
    pub fn inflate(&mut self, codec: Codec, body: &[u8]) -> Result<&[u8], String> {
        self.out.filled = 0;
        match codec {
            Codec::None => self.out.append(body)?,
            Codec::Gzip => gzip(body, &mut self.out)?,
            Codec::Snappy => snappy(&mut self.snappy, body, &mut self.out)?,
            Codec::Lz4 => lz4(body, &mut self.out)?,
            Codec::Zstd => zstd(&mut self.zstd, body, &mut self.out)?,
        }
        Ok(&self.out.bytes[..self.out.filled])
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new(Self::DEFAULT_LIMIT)
    }
}

/// The buffer: all of `bytes` is usable (never more than `limit`), so growing zeroes memory once and never again.
struct Output {
    bytes: Vec<u8>,
    filled: usize,
    limit: usize,
}

impl Output {
    const SMALLEST: usize = 64 << 10;

    fn too_large(&self) -> String {
        format!("decompresses to more than {} bytes, raise {} to read it", self.limit, Scratch::LIMIT_SETTING)
    }

    /// Makes the free part at least `wanted` bytes long, or as long as the limit allows when that is less.
    fn reserve(&mut self, wanted: usize) -> Result<(), String> {
        if self.filled >= self.limit {
            return Err(self.too_large());
        }
        let needed = self.filled.saturating_add(wanted).min(self.limit);
        if needed > self.bytes.len() {
            let grown = needed.max(self.bytes.len() * 2).max(Self::SMALLEST).min(self.limit);
            self.bytes.resize(grown, 0);
        }
        Ok(())
    }

    /// Exactly `length` free bytes, for formats that say the size beforehand.
    fn take(&mut self, length: usize) -> Result<&mut [u8], String> {
        if length > self.limit - self.filled {
            return Err(self.too_large());
        }
        if length > 0 {
            self.reserve(length)?;
        }
        let from = self.filled;
        self.filled += length;
        Ok(&mut self.bytes[from..from + length])
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.take(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }
}

fn gzip(body: &[u8], out: &mut Output) -> Result<(), String> {
    let mut decoder = MultiGzDecoder::new(body);
    loop {
        if out.filled == out.bytes.len() {
            // The end may lie exactly here: only another byte proves that more room is needed.
            let mut next = [0];
            if read_gzip(&mut decoder, &mut next)? == 0 {
                return Ok(());
            }
            out.append(&next)?;
        }
        let end = out.bytes.len();
        match read_gzip(&mut decoder, &mut out.bytes[out.filled..end])? {
            0 if out.filled < end => return Ok(()),
            read => out.filled += read,
        }
    }
}

fn read_gzip(decoder: &mut MultiGzDecoder<&[u8]>, into: &mut [u8]) -> Result<usize, String> {
    decoder.read(into).map_err(|e| format!("gzip: {e}"))
}

/// What Java clients put before their snappy blocks (from xerial's snappy-java); others write raw snappy.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
/// Magic, version and compatible version.
const XERIAL_HEADER: usize = 16;

fn snappy(decoder: &mut snap::raw::Decoder, body: &[u8], out: &mut Output) -> Result<(), String> {
    if !body.starts_with(XERIAL_MAGIC) {
        return snappy_block(decoder, body, out);
    }
    let mut left = body.get(XERIAL_HEADER..).ok_or("snappy: framing header cut off")?;
    while !left.is_empty() {
        let (length, rest) = left.split_first_chunk::<4>().ok_or("snappy: block length cut off")?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, rest) = rest.split_at_checked(length).ok_or("snappy: block runs past the batch")?;
        snappy_block(decoder, block, out)?;
        left = rest;
    }
    Ok(())
}

fn snappy_block(decoder: &mut snap::raw::Decoder, block: &[u8], out: &mut Output) -> Result<(), String> {
    let length = snap::raw::decompress_len(block).map_err(|e| format!("snappy: {e}"))?;
    decoder.decompress(block, out.take(length)?).map_err(|e| format!("snappy: {e}"))?;
    Ok(())
}

const LZ4_MAGIC: u32 = 0x184D_2204;
/// A block may refer this far back into the one before it.
const LZ4_WINDOW: usize = 64 << 10;

/// LZ4 frames, <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>. The frame is taken apart here because
/// `lz4_flex`'s own reader copies every block twice and allocates for every frame.
fn lz4(body: &[u8], out: &mut Output) -> Result<(), String> {
    let mut input = Input(body);
    while !input.0.is_empty() {
        lz4_frame(&mut input, out)?;
    }
    Ok(())
}

fn lz4_frame(input: &mut Input<'_>, out: &mut Output) -> Result<(), String> {
    if input.u32_le()? != LZ4_MAGIC {
        return Err("lz4: not a frame".to_owned());
    }
    let [flags, descriptor] = *input.array()?;
    let has = |bit: u8| flags & bit != 0;
    if flags >> 6 != 1 {
        return Err(format!("lz4: unknown frame version {}", flags >> 6));
    }
    if has(0x01) {
        return Err("lz4: needs a dictionary".to_owned());
    }
    let largest = match descriptor >> 4 & 7 {
        size @ 4..=7 => 1usize << (8 + 2 * size),
        size => return Err(format!("lz4: unknown block size {size}")),
    };
    let content_size = if has(0x08) { 8 } else { 0 };
    input.take(content_size + 1)?; // and the header's checksum
    let start = out.filled;
    loop {
        let word = input.u32_le()?;
        if word == 0 {
            break;
        }
        let block = input.take((word & 0x7fff_ffff) as usize)?;
        if word >> 31 == 1 {
            out.append(block)?;
        } else {
            let window = if has(0x20) { 0 } else { (out.filled - start).min(LZ4_WINDOW) };
            lz4_block(block, window, largest, out)?;
        }
        input.take(if has(0x10) { 4 } else { 0 })?;
    }
    input.take(if has(0x04) { 4 } else { 0 })?;
    Ok(())
}

fn lz4_block(block: &[u8], window: usize, largest: usize, out: &mut Output) -> Result<(), String> {
    out.reserve(largest)?;
    let (before, free) = out.bytes.split_at_mut(out.filled);
    let room = free.len().min(largest);
    let into = &mut free[..room];
    let written = match window {
        0 => lz4_flex::block::decompress_into(block, into),
        _ => lz4_flex::block::decompress_into_with_dict(block, into, &before[before.len() - window..]),
    };
    match written {
        Ok(written) => out.filled += written,
        Err(lz4_flex::block::DecompressError::OutputTooSmall { .. }) if room < largest => return Err(out.too_large()),
        Err(e) => return Err(format!("lz4: {e}")),
    }
    Ok(())
}

/// What is left of a frame; taking more than there is fails.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or("lz4: frame cut off")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], String> {
        let (taken, rest) = self.0.split_first_chunk().ok_or("lz4: frame cut off")?;
        self.0 = rest;
        Ok(taken)
    }

    fn u32_le(&mut self) -> Result<u32, String> {
        self.array().map(|bytes| u32::from_le_bytes(*bytes))
    }
}

fn zstd(decoder: &mut Option<ZstdDecoder<'static>>, body: &[u8], out: &mut Output) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("zstd: {e}");
    let decoder = match decoder {
        Some(decoder) => {
            decoder.reinit().map_err(failed)?;
            decoder
        }
        none => none.insert(ZstdDecoder::new().map_err(failed)?),
    };
    out.reserve(body.len().saturating_mul(2))?;
    let mut input = InBuffer::around(body);
    loop {
        let end = out.bytes.len();
        let before = (input.pos(), out.filled);
        let mut output = OutBuffer::around(&mut out.bytes[out.filled..end]);
        let expects = decoder.run(&mut input, &mut output).map_err(failed)?;
        out.filled += output.pos();
        let used_up = input.pos() == body.len();
        if used_up && expects == 0 {
            return Ok(());
        }
        let stuck = before == (input.pos(), out.filled);
        if out.filled < end && used_up && stuck {
            return Err("zstd: frame cut off".to_owned());
        }
        // At the limit a frame may still have its end mark to read, which needs no room.
        if out.filled == end && (end < out.limit || stuck) {
            out.reserve(1)?;
        }
    }
}

#[cfg(test)]
mod tests;
