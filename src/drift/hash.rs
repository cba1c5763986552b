//! Row digests that a database can compute beside us.
//!
//! [`hash_text`] is PostgreSQL's `hashtextextended`: Bob Jenkins' lookup3 with a 64-bit seed (`hash_bytes_extended` in
//! `common/hashfn.c`). Hash partitioning rests on its values, so they do not change between versions.

/// What `hashtextextended(text, seed)` gives on a little-endian server with a deterministic collation.
pub fn hash_text(text: &[u8], seed: u64) -> u64 {
    let mut state = begin(text.len() as u32, seed);
    let (blocks, tail) = text.as_chunks::<12>();
    for block in blocks {
        let (words, _) = block.as_chunks::<4>();
        for (place, word) in state.iter_mut().zip(words) {
            *place = place.wrapping_add(u32::from_le_bytes(*word));
        }
        mix(&mut state);
    }
    // The lowest byte of the last word stays free of the tail's bytes: the length stands for it.
    let mut padded = [0u8; 12];
    let head = tail.len().min(8);
    padded[..head].copy_from_slice(&tail[..head]);
    if tail.len() > 8 {
        padded[9..=tail.len()].copy_from_slice(&tail[8..]);
    }
    let (words, _) = padded.as_chunks::<4>();
    for (place, word) in state.iter_mut().zip(words) {
        *place = place.wrapping_add(u32::from_le_bytes(*word));
    }
    finish(state)
}

/// What `hashint8extended(value, seed)` gives. It folds to 32 bits, so it only ever checks what is hashed already.
pub fn hash_int(value: i64, seed: u64) -> u64 {
    let (low, high) = (value as u32, (value >> 32) as u32);
    let folded = low ^ if value >= 0 { high } else { !high };
    let mut state = begin(4, seed);
    state[0] = state[0].wrapping_add(folded);
    finish(state)
}

const INIT: u32 = 0x9e37_79b9_u32.wrapping_add(3_923_095);

#[inline(always)]
fn begin(length: u32, seed: u64) -> [u32; 3] {
    let mut state = [INIT.wrapping_add(length); 3];
    if seed != 0 {
        state[0] = state[0].wrapping_add((seed >> 32) as u32);
        state[1] = state[1].wrapping_add(seed as u32);
        mix(&mut state);
    }
    state
}

#[inline(always)]
fn mix(state: &mut [u32; 3]) {
    let [mut a, mut b, mut c] = *state;
    a = a.wrapping_sub(c) ^ c.rotate_left(4);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(6);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(8);
    b = b.wrapping_add(a);
    a = a.wrapping_sub(c) ^ c.rotate_left(16);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(19);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(4);
    b = b.wrapping_add(a);
    *state = [a, b, c];
}

#[inline(always)]
fn finish([mut a, mut b, mut c]: [u32; 3]) -> u64 {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    c = (c ^ b).wrapping_sub(b.rotate_left(24));
    (u64::from(b) << 32) | u64::from(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of PostgreSQL 15.18 on x86-64.
    #[test]
    fn the_servers_values_are_ours() {
        for (text, seed, expected) in [
            ("", 0, -6_939_563_903_564_495_251_i64),
            ("a", 0, 3_591_986_179_850_072_241),
            ("abcdefgh", 0, -8_882_191_227_074_733_005),
            ("abcdefghi", 7, 2_640_228_520_365_942_430),
            ("abcdefghijk", -5, -1_675_843_413_250_973_071),
            ("abcdefghijkl", 1, -6_429_754_808_531_195_817),
            ("abcdefghijklm", i64::MAX, -4_348_500_005_650_857_607),
            ("Grüße", 42, -7_094_209_452_130_907_900),
        ] {
            assert_eq!(hash_text(text.as_bytes(), seed as u64) as i64, expected, "{text:?} {seed}");
        }
        for (value, expected) in [
            (0, 1_128_081_088_593_945_711_i64),
            (1, -294_462_884_181_999_458),
            (-1, 752_237_500_124_717_012),
            (5_000_000_000, -2_252_182_139_004_322_608),
            (-5_000_000_000, 3_774_128_439_497_080_850),
        ] {
            assert_eq!(hash_int(value, 77) as i64, expected, "{value}");
        }
    }
}
