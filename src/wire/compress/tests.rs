use std::io::Write;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use proptest::prelude::*;

use super::*;
use crate::wire::encode::compress;

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn inflate(codec: Codec, body: &[u8]) -> Result<Vec<u8>, String> {
    Scratch::default().inflate(codec, body).map(<[u8]>::to_vec)
}

fn xerial(blocks: &[&[u8]]) -> Vec<u8> {
    let mut framed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in blocks {
        let block = snap::raw::Encoder::new().compress_vec(block).unwrap();
        framed.extend((block.len() as i32).to_be_bytes());
        framed.extend(block);
    }
    framed
}

fn lz4_frame_of(content: &[u8], info: FrameInfo) -> Vec<u8> {
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Repeats itself, so that blocks refer to what stands before them.
fn text(length: usize) -> Vec<u8> {
    (0..).flat_map(|n: u32| format!("line {} of {};", n % 977, n % 13).into_bytes()).take(length).collect()
}

proptest! {
    #[test]
    fn what_is_compressed_comes_back_through_one_scratch(
        contents in prop::collection::vec((0usize..5, prop::collection::vec(any::<u8>(), 0..3000), 1usize..60), 1..8)
    ) {
        let mut scratch = Scratch::default();
        for (codec, seed, times) in contents {
            let content = seed.repeat(times);
            let body = compress(CODECS[codec], &content).unwrap();
            prop_assert_eq!(scratch.inflate(CODECS[codec], &body), Ok(&content[..]));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(codec in 0usize..5, body in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Scratch::new(1 << 16).inflate(CODECS[codec], &body);
    }

    #[test]
    fn damage_inside_a_valid_frame_never_panics(codec in 1usize..5, at: prop::sample::Index, bit in 0u8..8) {
        let mut body = compress(CODECS[codec], &text(5000)).unwrap();
        let at = at.index(body.len());
        body[at] ^= 1 << bit;
        let _ = Scratch::new(1 << 20).inflate(CODECS[codec], &body);
    }
}

#[test]
fn a_cut_body_is_an_error_at_every_byte() {
    let content = text(3000);
    for codec in &CODECS[1..] {
        let body = compress(*codec, &content).unwrap();
        for cut in 1..body.len() {
            assert!(inflate(*codec, &body[..cut]).is_err(), "{codec:?} cut at {cut} of {}", body.len());
        }
    }
}

#[test]
fn a_bomb_is_an_error_that_names_the_limit_and_the_setting() {
    let content = vec![0; 1 << 20];
    for codec in CODECS {
        let body = compress(codec, &content).unwrap();
        let why = Scratch::new((1 << 20) - 1).inflate(codec, &body).unwrap_err();
        assert!(why.contains("1048575") && why.contains(Scratch::LIMIT_SETTING), "{codec:?}: {why}");
        let mut exact = Scratch::new(1 << 20);
        assert_eq!(exact.inflate(codec, &body).map(<[u8]>::len), Ok(1 << 20), "{codec:?} exactly at the limit");
        assert!(exact.out.bytes.len() <= 1 << 20, "{codec:?} holds no more than the limit");
    }
    let blocks = xerial(&[&content, &content]);
    assert!(Scratch::new(3 << 19).inflate(Codec::Snappy, &blocks).unwrap_err().contains("1572864"));
}

#[test]
fn a_size_that_is_only_claimed_is_not_allocated_beyond_the_limit() {
    // Raw snappy says its length first: 4 GiB − 1 in five bytes.
    let mut scratch = Scratch::new(1 << 20);
    assert!(scratch.inflate(Codec::Snappy, b"\xff\xff\xff\xff\x0f").is_err());
    assert!(scratch.out.bytes.is_empty());
}

#[test]
fn snappy_is_read_raw_and_in_xerial_blocks() {
    let (a, b) = (text(40_000), text(7));
    assert_eq!(inflate(Codec::Snappy, &xerial(&[&a, &b, b"", &a])), Ok([&a[..], &b, &a].concat()));
    assert_eq!(inflate(Codec::Snappy, &xerial(&[])), Ok(Vec::new()));
    let mut cut = xerial(&[&a, &b]);
    cut.pop();
    assert!(inflate(Codec::Snappy, &cut).is_err());
}

#[test]
fn gzip_members_and_zstd_and_lz4_frames_may_follow_each_other() {
    let (a, b) = (text(100_000), text(999));
    for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
        let both = [compress(codec, &a).unwrap(), compress(codec, &b).unwrap()].concat();
        assert_eq!(inflate(codec, &both), Ok([&a[..], &b].concat()), "{codec:?}");
        let garbage = [compress(codec, &a).unwrap(), vec![7; 9]].concat();
        assert!(inflate(codec, &garbage).is_err(), "{codec:?}");
    }
}

#[test]
fn every_kind_of_lz4_frame_is_read() {
    let content = text(700_000);
    for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
        for mode in [BlockMode::Independent, BlockMode::Linked] {
            for checks in [false, true] {
                let info = FrameInfo::new()
                    .block_size(size)
                    .block_mode(mode)
                    .block_checksums(checks)
                    .content_checksum(checks)
                    .content_size(checks.then_some(content.len() as u64));
                assert_eq!(inflate(Codec::Lz4, &lz4_frame_of(&content, info)).as_ref(), Ok(&content));
            }
        }
    }
}

#[test]
fn incompressible_lz4_blocks_stand_as_they_are() {
    let mut state = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(200_000)
    .collect();
    let body = compress(Codec::Lz4, &noise).unwrap();
    assert!(body.len() > noise.len());
    assert_eq!(inflate(Codec::Lz4, &body), Ok(noise));
}
