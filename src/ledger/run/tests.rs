//! Round trips of rows, extents and footers.

use proptest::prelude::*;

use super::format::{EXTENT, FOOTER, Footer, Layout, Shape, read_extent, write_extent};
use crate::ledger::Producer;
use crate::ledger::manifest::Ids;
use crate::ledger::rows::{Extent, Row, bucket_of};

proptest! {
    #[test]
    fn a_row_is_read_back_from_its_bytes_its_group_and_its_tag(
        (hi, lo, checksum) in any::<(u64, u64, u64)>(),
        rows in 1u64..1 << 33,
        span_bits in 0u32..=56,
        code in any::<u64>(),
    ) {
        let shape = Shape::of(rows, 1 << span_bits);
        let row = Row { hi, lo, checksum, code: code & ((1 << span_bits) - 1) };
        let mut bytes = Vec::new();
        shape.write_row(&row, &mut bytes);
        prop_assert_eq!(bytes.len(), shape.row_len());
        let upper = shape.upper(bucket_of(hi), shape.group_of(hi), shape.tag_of(hi));
        prop_assert_eq!(shape.read_row(upper, &bytes), Some(row));
        prop_assert_eq!(shape.read_row(upper, &bytes[1..]), None);
    }

    #[test]
    fn an_extent_is_read_back(
        (code, offset, id, epoch) in any::<(u64, i64, i64, i16)>(),
        (partition, second) in any::<(u32, u32)>(),
    ) {
        let extent = Extent { code, offset, producer: Producer { id, epoch }, partition, second };
        let mut bytes = Vec::new();
        write_extent(&extent, &mut bytes);
        prop_assert_eq!(bytes.len(), EXTENT);
        prop_assert_eq!(read_extent(&bytes), Some(extent));
    }

    #[test]
    fn a_footer_is_read_back_and_a_flipped_bit_is_noticed(
        rows in 1u64..=u32::MAX.into(),
        span in 1u64..1 << 56,
        (number, directory) in any::<(u64, u64)>(),
        (generation, min_second, max_second) in any::<(u32, u32, u32)>(),
        bit in 0..FOOTER * 8,
    ) {
        let ids = Ids { ledger: 77, secret: 88 };
        let layout = Layout { shape: Shape::of(rows, span), rows, extents: rows / 2 };
        let footer = Footer { layout, number, span, generation, min_second, max_second, directory, ids };
        let mut bytes = footer.encode();
        prop_assert_eq!(bytes.len(), FOOTER);
        prop_assert_eq!(Footer::decode(&bytes, ids).map(|(footer, _)| footer), Some(footer));
        prop_assert_eq!(Footer::decode(&bytes, Ids { secret: 1, ..ids }), None);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(Footer::decode(&bytes, ids), None);
    }
}

proptest! {
    #[test]
    fn any_bytes_as_a_run_are_refused_or_read_without_a_panic(
        kind in 0u8..3,
        choice in any::<u8>(),
        bytes in prop_oneof![
            5 => prop::collection::vec(any::<u8>(), 0..60),
            1 => prop::collection::vec(any::<u8>(), 0..9000),
        ],
    ) {
        super::fuzzing::check(&[&[kind, choice][..], &bytes].concat());
    }
}

#[test]
fn a_sighting_takes_25_bytes_on_disk_and_two_in_memory() {
    let rows = 2_000_000;
    let layout = Layout { shape: Shape::of(rows, 8 * rows), rows, extents: 1000 };
    let on_disk = layout.file_len() as f64 / rows as f64;
    let in_memory = layout.prefix_len() as f64 / rows as f64;
    assert!(on_disk <= 25.5 && in_memory <= 2.15, "{on_disk:.2} {in_memory:.2}");
}
