//! The statements a PostgreSQL table is read with. They read, and nothing else: no extension, no temporary table.

use super::postgres::holds::cast;
use super::postgres::pace::Blocks;
use crate::drift::Part;
use crate::drift::canon::Type;
use crate::drift::cells::{CHECK_SEED, PART_BITS};
use crate::drift::digest::{BUCKETS, KEY_SEED, MASKED, Method};
use crate::drift::sums::{FINER_BITS, SAMPLED};

/// Bytes of the numbers in packed answers.
pub const SUM: [usize; 3] = [2, 4, 8];
pub const CELL: [usize; 5] = [3, 4, 8, 8, 4];
pub const DIGEST: [usize; 2] = [8, 8];

/// A column as SQL sees it.
#[derive(Clone, Debug)]
pub struct SqlColumn {
    /// Quoted.
    pub name: String,
    /// As `format_type` names its type, for casts.
    pub sql_type: String,
    pub ty: Type,
    pub is_nullable: bool,
    /// Equality of the column is equality of bytes.
    pub is_exact: bool,
    pub source: Source,
}

/// Where its values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Given,
    /// From other columns: it cannot be set.
    Generated,
    /// From a sequence, `ALWAYS`: it can be set when its row comes, with a word.
    Identity,
}

impl SqlColumn {
    /// Its canonical text.
    pub fn text(&self) -> String {
        let name = &self.name;
        match self.ty {
            Type::Decimal(None) => format!("trim_scale({name})::text"),
            // Minus zero becomes zero; an integer zero would widen `real`.
            Type::Single => format!("({name} + 0::real)::text"),
            Type::Double => format!("({name} + 0::double precision)::text"),
            Type::Bytes => format!("encode({name}, 'hex')"),
            Type::Json => format!("{name}::jsonb::text"),
            _ => format!("{name}::text"),
        }
    }
}

/// A column that no table has.
const KEY_HASH: &str = "\"hash of the key\"";

#[derive(Clone, Debug)]
pub struct Statements {
    /// Quoted, with its schema.
    pub table: String,
    pub keys: Vec<SqlColumn>,
    pub values: Vec<SqlColumn>,
    pub method: Method,
    /// Text is UTF-8 in this database.
    pub is_utf8: bool,
}

impl Statements {
    fn key(&self) -> String {
        match self.method {
            Method::Chain => {
                self.keys.iter().fold(format!("{KEY_SEED}::bigint"), |seed, key| chained(&key.text(), &seed))
            }
            Method::Md5 => self.netstrings(self.keys.iter()),
        }
    }

    fn row(&self) -> String {
        self.netstrings(self.keys.iter().chain(&self.values))
    }

    /// From the key's hash on.
    fn chain(&self, key: &str) -> String {
        if self.values.is_empty() {
            return chained("''", key);
        }
        let mut seed = key.to_owned();
        for group in self.values.chunks(MASKED) {
            let nullable = group.iter().enumerate().filter(|(_, column)| column.is_nullable);
            let bits: Vec<String> = nullable
                .map(|(bit, column)| format!("CASE WHEN {} IS NULL THEN {} ELSE 0 END", column.name, 1_u64 << bit))
                .collect();
            if !bits.is_empty() {
                seed = format!("({seed} # ({})::bigint)", bits.join(" | "));
            }
            for column in group {
                let text = match column.is_nullable {
                    true => format!("coalesce({}, '')", column.text()),
                    false => column.text(),
                };
                seed = chained(&text, &seed);
            }
        }
        seed
    }

    fn netstrings<'c>(&self, columns: impl Iterator<Item = &'c SqlColumn>) -> String {
        let parts: Vec<String> = columns
            .map(|column| {
                let text = column.text();
                // A database of another encoding measures and hashes what UTF-8 would be.
                let length = match self.is_utf8 {
                    true => format!("octet_length({text})"),
                    false => format!("octet_length(convert_to({text}, 'UTF8'))"),
                };
                format!("coalesce({length} || ':' || {text} || ',', '-')")
            })
            .collect();
        let joined = parts.join(" || ");
        let hashed = if self.is_utf8 { joined } else { format!("convert_to({joined}, 'UTF8')") };
        md5_half(&hashed)
    }

    /// Group, count and sum of each group, packed as [`SUM`]. By bucket, those that are kept as finer ones by these. More rows
    /// than the bytes of a count hold are an error of the server's, never another number.
    pub fn sums(&self, part: Part, blocks: Option<Blocks>) -> String {
        let last = BUCKETS - 1;
        format!(
            "SELECT string_agg(substr(int4send(b::int), 3) || int4send(n::int) || int8send(s), ''::bytea) FROM \
             (SELECT k & CASE WHEN k & {last} < {SAMPLED} THEN {FINER_BITS} ELSE {last} END AS b, count(*) AS n, {} AS s \
             FROM {} GROUP BY 1) AS buckets",
            wrapped("sum(h)"),
            self.hashed(&self.within(part, blocks))
        )
    }

    /// The condition that a row is of this part and these blocks.
    pub fn within(&self, part: Part, blocks: Option<Blocks>) -> String {
        let mut filters = Vec::new();
        if !part.is_whole() {
            filters.push(format!("(({}) & {}) % {} = {}", self.key(), BUCKETS - 1, part.of, part.index));
        }
        if let Some((from, until)) = blocks {
            filters.push(format!("ctid >= '({from},0)'::tid"));
            filters.extend(until.map(|until| format!("ctid < '({until},0)'::tid")));
        }
        if filters.is_empty() { String::new() } else { format!(" WHERE {}", filters.join(" AND ")) }
    }

    /// Hashes of key and row. The key's is computed once: `OFFSET 0` keeps the two selects apart.
    fn hashed(&self, filter: &str) -> String {
        let table = &self.table;
        match self.method {
            Method::Chain => format!(
                "(SELECT {KEY_HASH} AS k, {} AS h FROM (SELECT *, {} AS {KEY_HASH} FROM {table}{filter} OFFSET 0) AS keyed)\
                 AS hashed",
                self.chain(KEY_HASH),
                self.key()
            ),
            Method::Md5 => {
                format!("(SELECT {} AS k, {} AS h FROM {table}{filter} OFFSET 0) AS hashed", self.key(), self.row())
            }
        }
    }

    /// `$1`: buckets, a bit for each; `$2`: cells in a part. Index, count and three sums of each cell, packed as [`CELL`]: of count
    /// and check the lower half.
    pub fn cells(&self) -> String {
        let check = match self.method {
            Method::Chain => format!("hashint8extended(k # h, {CHECK_SEED})"),
            Method::Md5 => md5_half("to_hex(k # h)"),
        };
        let place = |part: u32| {
            format!(
                "((((h >> {}) & {}) * $2::bigint) >> {PART_BITS})::int AS p{part}",
                PART_BITS * part,
                (1 << PART_BITS) - 1
            )
        };
        // In one pass for all three parts. Each `OFFSET 0` keeps what is inside from being computed again for every use of it outside.
        format!(
            "SELECT string_agg(substr(int4send(cell), 2) || substr(int8send(n), 5) || int8send(k) || int8send(h) || substr(int8send(c), 5), ''::bytea) \
             FROM (SELECT coalesce(p0, p1 + $2::bigint, p2 + 2 * $2::bigint)::int AS cell, count(*) AS n, {} AS k, {} AS h, \
             sum(c0) + (count(*) << 31) AS c FROM (SELECT {}, {}, {}, {}, {}, {} FROM \
             (SELECT k, h FROM {} OFFSET 0) AS once OFFSET 0) AS placed GROUP BY GROUPING SETS ((p0), (p1), (p2))) AS cells",
            sum_of_halves("k"),
            sum_of_halves("h"),
            place(0),
            place(1),
            place(2),
            halves("k"),
            halves("h"),
            lower_half(&check, "c"),
            self.hashed(&format!(" WHERE get_bit($1::bytea, (({}) & {})::int) = 1", self.key(), BUCKETS - 1)),
        )
    }

    /// Binary, so that nothing is printed; buckets are our own numbers.
    pub fn copy_digests(&self, buckets: &[usize]) -> String {
        let filter = match buckets.len() {
            BUCKETS => String::new(),
            _ => {
                let list: Vec<String> = buckets.iter().map(usize::to_string).collect();
                format!(" WHERE (({}) & {}) = ANY('{{{}}}'::bigint[])", self.key(), BUCKETS - 1, list.join(","))
            }
        };
        format!("COPY (SELECT k, h FROM {}) TO STDOUT (FORMAT binary)", self.hashed(&filter))
    }

    fn selected(&self) -> String {
        let texts: Vec<String> = self.keys.iter().chain(&self.values).map(SqlColumn::text).collect();
        format!("SELECT {} FROM {}", texts.join(", "), self.table)
    }

    /// `$1` …: one array of texts for each column of the key.
    pub fn rows(&self) -> String {
        format!("{}{}", self.selected(), self.asked())
    }

    /// The same rows as hashes of key and row, packed as [`DIGEST`].
    pub fn digests_of(&self) -> String {
        let hashed = self.hashed(&self.asked());
        format!("SELECT string_agg(int8send(k) || int8send(h), ''::bytea) FROM {hashed}")
    }

    fn asked(&self) -> String {
        // By the column itself, so that an index serves; by its text where equality of the column is no equality of bytes.
        let side =
            |key: &SqlColumn| if key.is_exact { key.name.clone() } else { format!("{} COLLATE \"C\"", key.text()) };
        let keys: Vec<String> = self.keys.iter().map(side).collect();
        let arrays: Vec<String> = (1..=self.keys.len()).map(|number| format!("${number}::text[]")).collect();
        let names: Vec<String> = (1..=self.keys.len()).map(|number| format!("k{number}")).collect();
        let cast = |(key, name): (&SqlColumn, &String)| match (key.is_exact, key.ty) {
            (true, Type::Bytes) => format!("decode({name}, 'hex')"),
            (true, _) => format!("{name}::{}", cast(&key.sql_type)),
            (false, _) => name.clone(),
        };
        let casts: Vec<String> = self.keys.iter().zip(&names).map(cast).collect();
        format!(
            " WHERE ({}) IN (SELECT {} FROM unnest({}) AS wanted({}))",
            keys.join(", "),
            casts.join(", "),
            arrays.join(", "),
            names.join(", ")
        )
    }

    /// `$1`: hashes.
    pub fn rows_by_hash(&self) -> String {
        format!("{} WHERE {} = ANY($1)", self.selected(), self.key())
    }
}

/// First half of the MD5, as a number.
fn md5_half(text: &str) -> String {
    format!("('x' || substr(md5({text}), 1, 16))::bit(64)::bigint")
}

/// A number modulo 2^64, as a signed one.
fn wrapped(number: &str) -> String {
    let (half, all) = (1_u128 << 63, 1_u128 << 64);
    format!("(({number} % {all} + {}) % {all} - {half})::bigint", all + half)
}

/// A number in two that the server adds up far faster where there are many sums: the lower one is less by 2^31, to have a sign.
fn halves(number: &str) -> String {
    format!("({number} >> 32)::int4 AS {number}1, {}", lower_half(number, number))
}

fn lower_half(number: &str, name: &str) -> String {
    format!("(({number} & {}) - {})::int4 AS {name}0", u32::MAX, 1_u32 << 31)
}

/// The sum of numbers in halves, modulo 2^64.
fn sum_of_halves(name: &str) -> String {
    wrapped(&format!("(sum({name}1) * {}::numeric + sum({name}0) + (count(*) << 31))", 1_u64 << 32))
}

fn chained(text: &str, seed: &str) -> String {
    format!("hashtextextended(({text}) COLLATE \"C\", {seed})")
}

/// An identifier as SQL writes it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
