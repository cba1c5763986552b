//! Round trips of whole batches, damage of every kind, and an independent encoder to compare with.

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as oracle;
use proptest::prelude::*;

use super::encode::{Header, RecordBuffer, codec_bits, compress, write_batch, write_record};
use super::*;

type Field = Option<Vec<u8>>;

/// A record as the test knows it: everything owned.
#[derive(Clone, Debug, PartialEq)]
struct Plain {
    offset: i64,
    timestamp: i64,
    key: Field,
    value: Field,
    headers: Vec<(Vec<u8>, Field)>,
}

impl From<Record<'_>> for Plain {
    fn from(record: Record<'_>) -> Self {
        let headers = record.headers.map(|h| h.map(|(k, v)| (k.to_vec(), v.map(<[u8]>::to_vec))).unwrap());
        Self {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers.collect(),
        }
    }
}

fn headers_of(plain: &Plain) -> Vec<Header<'_>> {
    plain.headers.iter().map(|(k, v)| (&k[..], v.as_deref())).collect()
}

const NO_PRODUCER: BatchHeader = BatchHeader {
    base_offset: 0,
    leader_epoch: 0,
    crc: 0,
    attributes: 0,
    last_offset_delta: 0,
    base_timestamp: 0,
    max_timestamp: 0,
    producer_id: -1,
    producer_epoch: -1,
    base_sequence: -1,
    records_count: 0,
};

/// A batch and the records that must come out of it.
#[derive(Clone, Debug)]
struct Sample {
    header: BatchHeader,
    records: Vec<Plain>,
    bytes: Vec<u8>,
}

fn field() -> impl Strategy<Value = Field> {
    prop_oneof![1 => Just(None), 1 => Just(Some(Vec::new())), 6 => prop::collection::vec(any::<u8>(), 0..90).prop_map(Some)]
}

/// Header keys repeat often and need not be UTF-8.
fn headers() -> impl Strategy<Value = Vec<(Vec<u8>, Field)>> {
    let key = prop_oneof![Just(b"a".to_vec()), Just(Vec::new()), prop::collection::vec(any::<u8>(), 0..6)];
    prop::collection::vec((key, field()), 0..4)
}

prop_compose! {
    /// Sparse offsets as compaction leaves them, all codecs, both kinds of time, with and without a delete horizon.
    fn sample()(
        base_offset in 0i64..1 << 60,
        contents in prop::collection::vec((1i32..4, -5000i64..5000, field(), field(), headers()), 0..12),
        tail in 0i32..3,
        codec in prop::sample::select(vec![Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd]),
        append_time: bool,
        horizon: bool,
        producer in (0i64..10_000, 0i16..100, 0..=i32::MAX),
        leader_epoch in 0..100i32,
    ) -> Sample {
        let max_timestamp = 1_700_000_000_000i64;
        // The cleaner writes the delete horizon, which lies in the future, over the base timestamp.
        let base_timestamp = if horizon { max_timestamp + 86_400_000 } else { max_timestamp - 5000 };
        let mut body = Vec::new();
        let mut records = Vec::new();
        let mut delta = -1;
        for (step, time, key, value, headers) in contents {
            delta += step;
            let timestamp = max_timestamp - 5000 + time;
            let record = Plain { offset: base_offset + i64::from(delta), timestamp, key, value, headers };
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            write_record(&mut body, timestamp - base_timestamp, delta, key, value, &headers_of(&record));
            records.push(record);
        }
        if append_time {
            records.iter_mut().for_each(|r| r.timestamp = max_timestamp);
        }
        // A batch emptied by the cleaner loses its codec bits.
        let codec = if records.is_empty() { Codec::None } else { codec };
        let flags = i16::from(append_time) << 3 | i16::from(horizon) << 6;
        let header = BatchHeader {
            base_offset,
            leader_epoch,
            crc: 0,
            attributes: codec_bits(codec) | flags,
            last_offset_delta: delta.max(0) + tail,
            base_timestamp,
            max_timestamp,
            producer_id: producer.0,
            producer_epoch: producer.1,
            base_sequence: producer.2,
            records_count: records.len() as i32,
        };
        let mut bytes = Vec::new();
        write_batch(&mut bytes, &header, &compress(codec, &body).unwrap());
        Sample { header, records, bytes }
    }
}

fn read(batch: &RawBatch<'_>, scratch: &mut Scratch) -> Vec<Plain> {
    batch.records(scratch).unwrap().map(|r| r.unwrap().into()).collect()
}

/// Everything a reader does with bytes it does not trust.
fn walk(bytes: &[u8]) {
    let mut scratch = Scratch::new(1 << 20);
    let mut batches = Batches::new(bytes);
    while let Some(batch) = batches.next() {
        assert!(batches.rest() < bytes.len());
        let Ok(batch) = batch else { continue };
        batch.is_crc_valid();
        if let Ok(records) = batch.records(&mut scratch) {
            for record in records.flatten() {
                assert!((batch.header.base_offset..batch.header.until()).contains(&record.offset));
                assert_eq!(record.headers.last(b"a").is_ok(), record.headers.into_iter().all(|h| h.is_ok()));
            }
        }
    }
    while batches.resync() {}
    assert_eq!(batches.rest(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn batches_give_back_every_field_of_every_record(samples in prop::collection::vec(sample(), 0..5)) {
        let bytes = samples.iter().flat_map(|s| s.bytes.clone()).collect::<Vec<_>>();
        let mut scratch = Scratch::default();
        let mut batches = Batches::new(&bytes);
        for sample in &samples {
            let batch = batches.next().unwrap().unwrap();
            prop_assert!(batch.is_crc_valid());
            prop_assert_eq!(BatchHeader { crc: 0, ..batch.header }, sample.header);
            prop_assert_eq!(batch.bytes(), &sample.bytes[..]);
            prop_assert_eq!(&read(&batch, &mut scratch), &sample.records);
        }
        prop_assert!(batches.next().is_none());
        prop_assert_eq!(batches.rest(), 0);
    }

    #[test]
    fn a_tail_cut_anywhere_is_no_error(first in sample(), second in sample()) {
        let bytes = [&first.bytes[..], &second.bytes].concat();
        for cut in first.bytes.len()..bytes.len() {
            let mut batches = Batches::new(&bytes[..cut]);
            prop_assert!(matches!(batches.next(), Some(Ok(_))));
            prop_assert!(batches.next().is_none(), "cut at {}", cut);
            prop_assert_eq!(batches.rest(), cut - first.bytes.len());
        }
    }

    #[test]
    fn a_flipped_bit_is_detected_or_lies_where_the_crc_does_not_reach(sample in sample()) {
        for bit in 0..sample.bytes.len() * 8 {
            let mut bytes = sample.bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let mut batches = Batches::new(&bytes);
            let intact = matches!(batches.next(), Some(Ok(batch)) if batch.is_crc_valid());
            // Base offset and leader epoch; the length and the magic betray themselves.
            let uncovered = [0..8, 12..16].iter().any(|range| range.contains(&(bit / 8)));
            // The sign of the base offset is never set.
            prop_assert_eq!(intact, uncovered && bit != 7, "bit {}", bit);
        }
    }

    #[test]
    fn behind_a_header_that_cannot_be_trusted_the_next_batch_is_found(
        before in sample(), damaged in sample(), after in sample(), length in prop_oneof![i32::MIN..49, 1 << 24..i32::MAX],
    ) {
        let place = |sample: &Sample, base: i64| {
            let mut bytes = sample.bytes.clone();
            bytes[..8].copy_from_slice(&base.to_be_bytes());
            bytes
        };
        let mut broken = place(&damaged, 1000);
        broken[8..12].copy_from_slice(&length.to_be_bytes());
        let bytes = [place(&before, 10), broken, place(&after, 2000)].concat();
        let mut batches = Batches::new(&bytes);
        prop_assert_eq!(batches.next().unwrap().unwrap().header.base_offset, 10);
        if length < 49 {
            let is_malformed = matches!(batches.next(), Some(Err(BatchError::Malformed { at: 1000, .. })));
            prop_assert!(is_malformed);
        } else {
            prop_assert!(batches.next().is_none(), "looks like a cut tail");
            prop_assert!(batches.resync());
        }
        prop_assert_eq!(batches.next().unwrap().unwrap().header.base_offset, 2000);
        prop_assert!(batches.next().is_none());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        walk(&bytes);
    }

    #[test]
    fn damaged_batches_never_panic(
        sample in sample(), wounds in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = sample.bytes.repeat(2);
        for (at, byte) in wounds {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        walk(&bytes);
    }

    #[test]
    fn another_encoder_s_batches_read_the_same(
        base in 0i64..1 << 40,
        contents in prop::collection::vec((0i64..100_000, field(), field(), prop::collection::btree_map("[a-zé]{0,5}", field(), 0..4)), 1..20),
        producer in (0i64..1000, 0i16..100, 0i32..1 << 30),
    ) {
        let mut records = Vec::new();
        for (offset, (time, key, value, headers)) in (base..).zip(contents) {
            let headers = headers.into_iter().map(|(k, v)| (k.into_bytes(), v)).collect();
            records.push(Plain { offset, timestamp: 1_700_000_000_000 + time, key, value, headers });
        }
        let theirs = records.iter().enumerate().map(|(i, record)| oracle::Record {
            transactional: true,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: 7,
            producer_id: producer.0,
            producer_epoch: producer.1,
            timestamp_type: oracle::TimestampType::Creation,
            offset: record.offset,
            sequence: producer.2 + i as i32,
            timestamp: record.timestamp,
            key: record.key.clone().map(Bytes::from),
            value: record.value.clone().map(Bytes::from),
            headers: record.headers.iter().map(|(k, v)| {
                (StrBytes::from_string(String::from_utf8(k.clone()).unwrap()), v.clone().map(Bytes::from))
            }).collect::<IndexMap<_, _>>(),
        }).collect::<Vec<_>>();
        let mut bytes = BytesMut::new();
        let options = oracle::RecordEncodeOptions { version: 2, compression: oracle::Compression::None };
        oracle::RecordBatchEncoder::encode(&mut bytes, &theirs, &options).unwrap();

        let mut scratch = Scratch::default();
        let mut ours = Vec::new();
        let mut batches = Batches::new(&bytes);
        for batch in batches.by_ref() {
            let batch = batch.unwrap();
            let header = batch.header;
            prop_assert!(batch.is_crc_valid() && header.is_transactional() && !header.is_control());
            prop_assert_eq!((header.producer_id, header.producer_epoch, header.leader_epoch), (producer.0, producer.1, 7));
            prop_assert_eq!(header.sequence_at(0), producer.2 + (header.base_offset - base) as i32);
            ours.extend(read(&batch, &mut scratch));
        }
        prop_assert_eq!(batches.rest(), 0);
        prop_assert_eq!(ours, records);
    }

    #[test]
    fn a_record_buffer_gives_back_what_was_pushed(
        contents in prop::collection::vec((1i64..1000, -1i64..1 << 50, field(), field(), headers()), 0..20),
    ) {
        let mut buffer = RecordBuffer::default();
        let mut records = Vec::new();
        let mut offset = 0;
        for (step, timestamp, key, value, headers) in contents {
            offset += step;
            let record = Plain { offset, timestamp, key, value, headers };
            prop_assert!(buffer.accepts(offset));
            buffer.push(offset, timestamp, record.key.as_deref(), record.value.as_deref(), &headers_of(&record));
            prop_assert!(!buffer.accepts(offset) && !buffer.accepts(offset - 1));
            prop_assert_eq!(buffer.until(), offset + 1);
            records.push(record);
        }
        let read: Vec<Plain> = buffer.records().map(|r| r.unwrap().into()).collect();
        prop_assert_eq!(read, records);
    }
}

fn batch_of(body: &[u8], header: BatchHeader) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_batch(&mut bytes, &header, body);
    bytes
}

fn errors_in(bytes: &[u8]) -> Vec<RecordError> {
    let batch = Batches::new(bytes).next().unwrap().unwrap();
    batch.records(&mut Scratch::default()).unwrap().filter_map(Result::err).collect()
}

#[test]
fn the_crc_is_crc_32c() {
    // RFC 3720 appendix B.4: 32 bytes of zeros.
    assert_eq!(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &[0; 32]), 0x8a91_36aa);
    // 40 bytes of a header without records, computed bit by bit.
    let bytes = batch_of(&[], NO_PRODUCER);
    let crc = bytes[21..].iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    });
    assert_eq!(Batches::new(&bytes).next().unwrap().unwrap().computed_crc(), !crc);
}

#[test]
fn legacy_messages_are_reported_and_passed() {
    let legacy = |offset: i64, magic: u8| {
        let mut bytes = offset.to_be_bytes().to_vec();
        let body =
            [&[0, 0, 0, 0, magic, 0][..], &vec![0; if magic == 1 { 8 } else { 0 }], &[255; 4], &[0, 0, 0, 1, b'v']]
                .concat();
        bytes.extend((body.len() as i32).to_be_bytes());
        bytes.extend(body);
        bytes
    };
    let modern = batch_of(&[], BatchHeader { base_offset: 7, ..NO_PRODUCER });
    let bytes = [legacy(4, 0), legacy(6, 1), modern].concat();
    let mut batches = Batches::new(&bytes);
    assert_eq!(batches.next().unwrap().unwrap_err(), BatchError::Legacy { at: 4, last: 4, magic: 0 });
    assert_eq!(batches.next().unwrap().unwrap_err(), BatchError::Legacy { at: 6, last: 6, magic: 1 });
    assert_eq!(batches.next().unwrap().unwrap().header.base_offset, 7);
    assert!(batches.next().is_none());
}

#[test]
fn a_count_that_does_not_fit_the_records_is_an_error() {
    let mut body = Vec::new();
    write_record(&mut body, 0, 0, None, Some(b"a"), &[]);
    write_record(&mut body, 0, 1, None, Some(b"b"), &[]);
    let with_count =
        |records_count| batch_of(&body, BatchHeader { last_offset_delta: 5, records_count, ..NO_PRODUCER });
    assert_eq!(errors_in(&with_count(2)), []);
    assert_eq!(errors_in(&with_count(3)), [RecordError { index: 2, what: "length cut off" }]);
    let left_over = |index| [RecordError { index, what: "bytes left over behind the last record" }];
    assert_eq!(errors_in(&with_count(1)), left_over(1));
    assert_eq!(errors_in(&with_count(0)), left_over(0));
}

#[test]
fn headers_that_do_not_fill_their_record_are_an_error() {
    let mut body = Vec::new();
    write_record(&mut body, 0, 0, None, None, &[(b"k", Some(b"v"))]);
    let header = BatchHeader { records_count: 1, ..NO_PRODUCER };
    assert_eq!(errors_in(&batch_of(&body, header)), []);
    // length, attributes, time, offset, key, value, then the number of headers
    for count in [0, 4] {
        let mut body = body.clone();
        body[6] = count;
        assert_eq!(errors_in(&batch_of(&body, header)).len(), 1, "count {count}");
    }
}

#[test]
fn an_emptied_batch_reads_as_empty_whatever_its_codec_bits_say() {
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let header = BatchHeader { attributes: codec_bits(codec), last_offset_delta: 19, ..NO_PRODUCER };
        assert_eq!(errors_in(&batch_of(&[], header)), []);
    }
}

#[test]
fn an_unknown_codec_is_malformed() {
    let bytes = batch_of(&[0], BatchHeader { attributes: 5, records_count: 1, ..NO_PRODUCER });
    let batch = Batches::new(&bytes).next().unwrap().unwrap();
    let error = batch.records(&mut Scratch::default()).unwrap_err();
    assert_eq!(error.to_string(), "batch at offset 0: unknown compression codec 5");
}

#[test]
fn sequences_wrap_to_zero() {
    let header = BatchHeader { base_sequence: i32::MAX - 2, ..NO_PRODUCER };
    assert_eq!([0, 2, 3, 5].map(|delta| header.sequence_at(delta)), [i32::MAX - 2, i32::MAX, 0, 2]);
}
