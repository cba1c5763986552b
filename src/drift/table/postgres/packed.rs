//! Numbers as `intNsend` puts them behind each other: far fewer bytes than rows of the protocol.

/// Of each row the index, of `width` bytes, and `N` numbers.
pub fn rows<const N: usize>(packed: &[u8], width: usize) -> impl Iterator<Item = (usize, [u64; N])> {
    packed.chunks_exact(width + 8 * N).map(move |row| {
        let (index, numbers) = row.split_at(width);
        let index = index.iter().fold(0, |index, byte| index << 8 | usize::from(*byte));
        let (numbers, _) = numbers.as_chunks::<8>();
        let mut taken = [0; N];
        taken.iter_mut().zip(numbers).for_each(|(taken, number)| *taken = u64::from_be_bytes(*number));
        (index, taken)
    })
}
