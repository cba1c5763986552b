//! Text that is kept compressed and never held whole: segments, each a byte-aligned stretch of one deflate stream, so that
//! any row of them is a valid gzip body. Both exposition formats share the segments that hold samples, and what did not
//! change is not compressed again.

use std::io::{self, Write};

use axum::body::Bytes;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc, Decompress, FlushDecompress};

/// Bytes of text inflated at a time for a client that takes no gzip.
const CHUNK: usize = 64 << 10;
/// Magic, deflate, no flags, no time, no level, unknown system.
const HEAD: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// An empty last block: it ends the deflate stream.
const LAST: &[u8] = &[3, 0];

pub struct Segment {
    bytes: Bytes,
    crc: Crc,
    length: u64,
}

/// Takes text, gives a segment.
pub struct Packer {
    encoder: DeflateEncoder<Vec<u8>>,
    crc: Crc,
    length: u64,
}

impl Packer {
    pub fn new() -> Self {
        Self { encoder: DeflateEncoder::new(Vec::new(), Compression::new(1)), crc: Crc::new(), length: 0 }
    }

    pub fn finish(mut self) -> io::Result<Segment> {
        // Ends at a byte without ending the stream, so that another segment can follow.
        self.encoder.flush()?;
        let mut bytes = std::mem::take(self.encoder.get_mut());
        bytes.shrink_to_fit();
        Ok(Segment { bytes: bytes.into(), crc: self.crc, length: self.length })
    }
}

impl Write for Packer {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.encoder.write_all(text)?;
        self.crc.update(text);
        self.length += text.len() as u64;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One body, as a row of segments.
#[derive(Clone)]
pub struct Packed {
    pieces: Vec<Bytes>,
    length: u64,
}

impl Packed {
    pub fn of<'a>(segments: impl IntoIterator<Item = &'a Segment>) -> Self {
        let mut crc = Crc::new();
        let mut length = 0;
        let mut pieces = vec![Bytes::from_static(HEAD)];
        for segment in segments {
            crc.combine(&segment.crc);
            length += segment.length;
            pieces.push(segment.bytes.clone());
        }
        let mut tail = LAST.to_vec();
        tail.extend(crc.sum().to_le_bytes());
        // Gzip keeps the length modulo 2³².
        tail.extend((length as u32).to_le_bytes());
        pieces.push(tail.into());
        Self { pieces, length }
    }

    /// Bytes of the text.
    pub fn text_length(&self) -> u64 {
        self.length
    }

    pub fn gzip_length(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    pub fn gzip(&self) -> impl Iterator<Item = Bytes> + Send + 'static {
        self.pieces.clone().into_iter()
    }

    /// The text again, a piece at a time.
    pub fn text(&self) -> impl Iterator<Item = io::Result<Bytes>> + Send + 'static {
        let inner = self.pieces[1..].to_vec();
        Inflater { pieces: inner.into_iter(), piece: Bytes::new(), inflate: Decompress::new(false), left: self.length }
    }
}

struct Inflater {
    pieces: std::vec::IntoIter<Bytes>,
    piece: Bytes,
    inflate: Decompress,
    left: u64,
}

impl Iterator for Inflater {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut out = Vec::with_capacity(CHUNK);
        while self.left > 0 && out.len() < CHUNK {
            if self.piece.is_empty() {
                match self.pieces.next() {
                    Some(piece) => self.piece = piece,
                    None => return Some(Err(io::ErrorKind::UnexpectedEof.into())),
                }
            }
            let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
            if let Err(error) = self.inflate.decompress_vec(&self.piece, &mut out, FlushDecompress::None) {
                return Some(Err(io::Error::other(error)));
            }
            self.piece = self.piece.slice((self.inflate.total_in() - read) as usize..);
            self.left = self.left.saturating_sub(self.inflate.total_out() - written);
        }
        (!out.is_empty()).then(|| Ok(out.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn pack(text: &[u8]) -> Segment {
        let mut packer = Packer::new();
        packer.write_all(text).unwrap();
        packer.finish().unwrap()
    }

    proptest! {
        #[test]
        fn any_row_of_segments_is_one_gzip_body(texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200_000), 0..5)) {
            let segments: Vec<Segment> = texts.iter().map(|text| pack(text)).collect();
            let packed = Packed::of(&segments);
            let gzip: Vec<u8> = packed.gzip().flatten().collect();
            prop_assert_eq!(gzip.len(), packed.gzip_length());
            let expected = texts.concat();
            let mut read = Vec::new();
            // The strict decoder of a single member: it checks sum and length, and that nothing follows.
            let mut decoder = flate2::bufread::GzDecoder::new(&gzip[..]);
            decoder.read_to_end(&mut read).unwrap();
            prop_assert!(decoder.into_inner().is_empty());
            prop_assert!(read == expected);
            let text: Vec<u8> = packed.text().flat_map(|piece| piece.unwrap()).collect();
            prop_assert!(text == expected);
            prop_assert_eq!(packed.text_length(), expected.len() as u64);
        }
    }
}
