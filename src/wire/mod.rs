//! Bytes of Kafka's record format, magic 2, on borrowed buffers. No I/O, no clock, nothing of meaning: this module
//! knows what a batch *is*, not whether it should be there. Every length is checked before it is trusted.
//!
//! * [`batch`]: cutting a fetched buffer into batches, header fields, CRC
//! * [`record`]: walking the records of a batch
//! * [`compress`]: the four codecs, with a limit on what a batch may grow to
//! * [`control`]: the kinds of control records
//! * [`encode`]: writing records and batches, for sources without batches, for tests and fuzzing

pub mod batch;
pub mod compress;
pub mod control;
pub mod encode;
pub mod record;
pub mod varint;

pub use batch::{BatchError, BatchHeader, Batches, Codec, RawBatch};
pub use compress::Scratch;
pub use control::Marker;
pub use record::{Headers, Record, RecordError, Records};

#[cfg(test)]
mod tests;
