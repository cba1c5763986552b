//! A row as two numbers that a database can compute too: a hash of its key, and one of all of it.
//!
//! Framing is unambiguous (one nested call or one length for each column), null lies outside the values, the key is part of
//! the row's hash, and rows are added up: a sum forgets no repeated row, as an exclusive or would.

use md5::{Digest as _, Md5};

use super::hash::hash_text;

/// How the stores at hand hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// PostgreSQL's `hashtextextended`, each column seeded with the hash of those before it.
    Chain,
    /// First half of the MD5 of `length:text,` for each column: what every database can do.
    Md5,
}

/// Seed of the first column of a key.
pub const KEY_SEED: i64 = 0x736f_7264;
/// Columns whose nulls one mask tells.
pub const MASKED: usize = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    pub key: u64,
    pub row: u64,
}

/// Texts of a row, one behind the other; reused from row to row.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    pub bytes: Vec<u8>,
    /// Where each text ends; `None` for null.
    ends: Vec<Option<usize>>,
}

impl Spans {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    pub fn push(&mut self, text: Option<&[u8]>) {
        if let Some(text) = text {
            self.bytes.extend_from_slice(text);
        }
        self.end(text.is_none());
    }

    /// The text is what was appended to `bytes` since the last one.
    pub fn end(&mut self, is_null: bool) {
        self.ends.push((!is_null).then_some(self.bytes.len()));
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn texts(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let mut from = 0;
        self.ends.iter().map(move |end| {
            let until = (*end)?;
            let text = &self.bytes[from..until];
            from = until;
            Some(text)
        })
    }
}

impl Method {
    pub fn key(self, spans: &Spans, keys: usize) -> u64 {
        let texts = spans.texts().take(keys).map(Option::unwrap_or_default);
        match self {
            Method::Chain => texts.fold(KEY_SEED as u64, |seed, text| hash_text(text, seed)),
            Method::Md5 => netstrings(texts.map(Some)),
        }
    }

    pub fn key_of(self, key: &[String]) -> u64 {
        let mut spans = Spans::default();
        key.iter().for_each(|text| spans.push(Some(text.as_bytes())));
        self.key(&spans, key.len())
    }

    /// Of the first `keys` texts, and of all of them.
    pub fn of(self, spans: &Spans, keys: usize) -> Digest {
        let key = self.key(spans, keys);
        let row = match self {
            Method::Chain => chain(spans, keys, key),
            Method::Md5 => netstrings(spans.texts()),
        };
        Digest { key, row }
    }
}

fn chain(spans: &Spans, keys: usize, key: u64) -> u64 {
    let mut hash = key;
    if spans.len() == keys {
        return hash_text(&[], hash);
    }
    for (index, text) in spans.texts().skip(keys).enumerate() {
        if index % MASKED == 0 {
            let masked = spans.ends[keys + index..].iter().take(MASKED).enumerate();
            hash ^= masked.fold(0, |mask, (bit, end)| mask | u64::from(end.is_none()) << bit);
        }
        hash = hash_text(text.unwrap_or_default(), hash);
    }
    hash
}

fn netstrings<'t>(texts: impl Iterator<Item = Option<&'t [u8]>>) -> u64 {
    let mut hash = Md5::new();
    for text in texts {
        match text {
            Some(text) => {
                hash.update(text.len().to_string());
                hash.update(b":");
                hash.update(text);
                hash.update(b",");
            }
            None => hash.update(b"-"),
        }
    }
    half(hash)
}

/// First half of the MD5 of these bytes.
pub fn md5_of(bytes: &[u8]) -> u64 {
    let mut hash = Md5::new();
    hash.update(bytes);
    half(hash)
}

fn half(hash: Md5) -> u64 {
    let [a, b, c, d, e, f, g, h, ..]: [u8; 16] = hash.finalize().into();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Which of [`BUCKETS`] a key belongs to.
pub fn bucket_of(key: u64) -> usize {
    (key as usize) & (BUCKETS - 1)
}

pub const BUCKETS: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: Method, texts: &[Option<&str>]) -> Digest {
        let mut spans = Spans::default();
        for text in texts {
            spans.push(text.map(str::as_bytes));
        }
        method.of(&spans, 1)
    }

    #[test]
    fn what_differs_hashes_otherwise() {
        for method in [Method::Chain, Method::Md5] {
            let rows: [&[Option<&str>]; 9] = [
                &[Some("1"), Some("a|a"), Some("a")],
                &[Some("1"), Some("a"), Some("a|a")],
                &[Some("1"), Some(""), None],
                &[Some("1"), None, Some("")],
                &[Some("1"), None, None],
                &[Some("1"), Some(""), Some("")],
                &[Some("1"), Some("NULL"), Some("")],
                &[Some("1"), Some("-"), Some("")],
                &[Some("2"), Some(""), Some("")],
            ];
            let mut hashes: Vec<u64> = rows.iter().map(|row| of(method, row).row).collect();
            hashes.sort_unstable();
            hashes.dedup();
            assert_eq!(hashes.len(), rows.len(), "{method:?}");
        }
    }

    #[test]
    fn nulls_beyond_one_mask_count() {
        let row = |null: usize| -> Vec<Option<&str>> { (0..130).map(|at| (at != null).then_some("")).collect() };
        let mut hashes: Vec<u64> = (1..130).map(|null| of(Method::Chain, &row(null)).row).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 129);
    }

    /// `SELECT substr(md5('1:1,2:ab,-'), 1, 16)`, PostgreSQL 15.18.
    #[test]
    fn netstrings_are_those_of_sql() {
        assert_eq!(of(Method::Md5, &[Some("1"), Some("ab"), None]).row, 0x69d3_8506_d231_8c28);
    }
}
