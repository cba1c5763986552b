//! Zig-zag varints (protocol buffers encoding), as records use them.

/// Reads an unsigned varint of at most `max_bytes` bytes from `buf[*at..]` and moves `at` past it.
#[inline]
pub fn read_unsigned(buf: &[u8], at: &mut usize, max_bytes: usize) -> Option<u64> {
    let mut value = 0u64;
    for i in 0..max_bytes {
        let byte = *buf.get(*at + i)?;
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            *at += i + 1;
            return Some(value);
        }
    }
    None
}

/// A 32-bit zig-zag varint; `None` when it is cut off or longer than five bytes.
#[inline(always)]
pub fn read_i32(buf: &[u8], at: &mut usize) -> Option<i32> {
    // Nearly every varint of a record is one byte.
    let first = *buf.get(*at)?;
    if first & 0x80 == 0 {
        *at += 1;
        return Some(i32::from(first >> 1) ^ -i32::from(first & 1));
    }
    let value = read_unsigned(buf, at, 5)? as u32;
    Some((value >> 1) as i32 ^ -((value & 1) as i32))
}

/// A 64-bit zig-zag varint; `None` when it is cut off or longer than ten bytes.
#[inline(always)]
pub fn read_i64(buf: &[u8], at: &mut usize) -> Option<i64> {
    let value = read_unsigned(buf, at, 10)?;
    Some((value >> 1) as i64 ^ -((value & 1) as i64))
}

pub fn write_i32(out: &mut Vec<u8>, value: i32) {
    write_unsigned(out, u64::from(((value << 1) ^ (value >> 31)) as u32));
}

pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    write_unsigned(out, ((value << 1) ^ (value >> 63)) as u64);
}

fn write_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back_to_the_last_byte(a: i32, b: i64) {
            let mut out = Vec::new();
            write_i32(&mut out, a);
            write_i64(&mut out, b);
            let mut at = 0;
            prop_assert_eq!(read_i32(&out, &mut at), Some(a));
            prop_assert_eq!(read_i64(&out, &mut at), Some(b));
            prop_assert_eq!(at, out.len());
        }

        #[test]
        fn a_cut_varint_is_refused(a: i64) {
            let mut out = Vec::new();
            write_i64(&mut out, a);
            for cut in 0..out.len() {
                prop_assert_eq!(read_i64(&out[..cut], &mut 0), None);
            }
        }
    }

    #[test]
    fn an_endless_varint_is_refused() {
        assert_eq!(read_i32(&[0xff; 16], &mut 0), None);
        assert_eq!(read_i64(&[0xff; 16], &mut 0), None);
    }
}
