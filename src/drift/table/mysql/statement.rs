//! The statements a MySQL or MariaDB table is read with. They read, and nothing else.

use ::mysql::Value;

use crate::drift::Part;
use crate::drift::canon::{Type, float, hex, json};
use crate::drift::cells::PART_BITS;
use crate::drift::digest::BUCKETS;
use crate::drift::sums::{FINER_BITS, SAMPLED};

/// What a column is in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// `tinyint(1)`, which may stand for a boolean.
    Tiny,
    Integer,
    Decimal,
    Float,
    Double,
    /// So many bits.
    Bit(u64),
    Text,
    /// Read without its trailing blanks.
    Char,
    Bytes,
    /// Text in MariaDB, as it was written.
    Json,
    Uuid,
    Date,
    /// With digits of a second.
    Time(u8),
    Datetime(u8),
    Timestamp(u8),
}

impl Base {
    /// How its values are compared unless the other side asks for something else.
    pub fn ty(self, scale: u16) -> Type {
        match self {
            Base::Tiny | Base::Integer => Type::Integer,
            Base::Decimal => Type::Decimal(Some(scale)),
            Base::Float => Type::Single,
            Base::Double => Type::Double,
            Base::Bit(1) => Type::Bool,
            Base::Bit(_) => Type::Integer,
            Base::Text => Type::Text,
            Base::Char => Type::Padded,
            Base::Bytes => Type::Bytes,
            Base::Json => Type::Json,
            Base::Uuid => Type::Uuid,
            Base::Date => Type::Date,
            Base::Time(digits) => Type::Time(digits),
            Base::Datetime(digits) => Type::Timestamp(digits),
            Base::Timestamp(digits) => Type::Instant(digits),
        }
    }

    pub fn prints(self, ty: Type) -> bool {
        match self {
            Base::Tiny | Base::Bit(1) => matches!(ty, Type::Bool | Type::Integer),
            Base::Text | Base::Char => ty == Type::Uuid,
            Base::Json | Base::Uuid => ty == Type::Text,
            _ => false,
        }
    }
}

#[derive(Clone, Debug)]
pub struct SqlColumn {
    /// Quoted.
    pub name: String,
    pub base: Base,
    /// As values of which type it is compared.
    pub ty: Type,
    pub is_nullable: bool,
    /// Printed with leading zeros: `zerofill`, `year`.
    pub is_filled: bool,
    /// Of text: its character set and collation.
    pub encoding: Option<(String, String)>,
    /// Made from other columns: it cannot be set.
    pub is_generated: bool,
    /// Becomes the present time when its row is changed and it is not set.
    pub is_stamped: bool,
}

impl SqlColumn {
    /// Its canonical text in SQL; `None` where SQL prints the value otherwise.
    pub fn text(&self) -> Option<String> {
        let name = &self.name;
        Some(match (self.base, self.ty) {
            (Base::Float | Base::Double, _) | (Base::Json, Type::Json) => return None,
            (Base::Tiny | Base::Bit(_), Type::Bool) => {
                format!("CASE {name} + 0 WHEN 0 THEN 'false' WHEN 1 THEN 'true' ELSE cast({name} + 0 AS char) END")
            }
            (Base::Bit(_), _) => format!("{name} + 0"),
            (Base::Tiny | Base::Integer | Base::Decimal, _) if self.is_filled => format!("{name} + 0"),
            (Base::Tiny | Base::Integer | Base::Decimal, _) => name.clone(),
            (Base::Text | Base::Char, Type::Uuid) => format!("lower({})", self.utf8()),
            (Base::Text | Base::Char | Base::Json, _) => self.utf8(),
            (Base::Bytes, _) => format!("lower(hex({name}))"),
            (Base::Uuid | Base::Date, _) => format!("cast({name} AS char)"),
            (Base::Time(digits) | Base::Datetime(digits), _) => clock(name, digits),
            (Base::Timestamp(digits), _) => format!("concat({}, '+00')", clock(name, digits)),
        })
    }

    /// Converted only where it is something else, for that costs.
    fn utf8(&self) -> String {
        match &self.encoding {
            Some((charset, _)) if charset.starts_with("utf8") => self.name.clone(),
            _ => format!("convert({} USING utf8mb4)", self.name),
        }
    }

    /// Whether SQL can print and therefore hash it.
    pub fn is_printed(&self) -> bool {
        self.text().is_some()
    }

    /// What is fetched of it: what [`SqlColumn::canonical`] reads. Hexadecimal digits of much would not fit in a packet.
    fn fetched(&self) -> String {
        match self.base {
            Base::Bytes => self.name.clone(),
            _ => self.text().unwrap_or_else(|| self.name.clone()),
        }
    }

    /// The canonical text of what was fetched.
    pub fn canonical(&self, value: Value) -> Option<String> {
        let bytes = match value {
            Value::NULL => return None,
            Value::Float(float) => return Some(float_text(&format!("{float:e}"), true)),
            Value::Double(float) => return Some(float_text(&format!("{float:e}"), false)),
            Value::Bytes(bytes) => bytes,
            other => return Some(other.as_sql(true)),
        };
        if self.base == Base::Bytes {
            let mut digits = Vec::with_capacity(2 * bytes.len());
            hex(&bytes, &mut digits);
            return String::from_utf8(digits).ok();
        }
        let text =
            String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        if (self.base, self.ty) != (Base::Json, Type::Json) {
            return Some(text);
        }
        let mut canonical = Vec::new();
        // What is no JSON after all stands for itself.
        match json::jsonb(&text, &mut canonical) {
            Ok(_) => String::from_utf8(canonical).ok(),
            Err(_) => Some(text),
        }
    }

    /// A condition with one `?`.
    pub fn equals(&self) -> String {
        self.equals_to("?")
    }

    /// By the column itself where its equality follows from that of the texts, so that an index serves.
    pub fn equals_to(&self, asked: &str) -> String {
        let name = &self.name;
        match (self.base, self.ty) {
            (Base::Tiny | Base::Bit(_), Type::Bool) | (Base::Text | Base::Char, Type::Uuid) => {
                format!("{} = {asked}", self.text().unwrap_or_default())
            }
            (Base::Decimal, Type::Decimal(scale)) => {
                format!("{name} = cast({asked} AS decimal(65,{}))", scale.unwrap_or_default())
            }
            (Base::Bytes, _) => format!("{name} = unhex({asked})"),
            _ => match &self.encoding {
                // A text that the column cannot hold would not even compare.
                Some((charset, collation)) => format!("{name} = convert({asked} USING {charset}) COLLATE {collation}"),
                None => format!("{name} = {asked}"),
            },
        }
    }

    /// The value for that `?`.
    pub fn asked(&self, text: &str) -> Value {
        match (self.base, self.ty) {
            (Base::Tiny | Base::Integer | Base::Bit(_), Type::Integer) => match (text.parse::<i64>(), text.parse()) {
                (Ok(number), _) => Value::Int(number),
                (_, Ok(number)) => Value::UInt(number),
                // Too large for any such column.
                _ => Value::NULL,
            },
            (Base::Timestamp(_), _) => Value::from(text.strip_suffix("+00").unwrap_or(text)),
            _ => Value::from(text),
        }
    }
}

/// As PostgreSQL prints it: without the zeros that fill the fraction up.
fn clock(name: &str, digits: u8) -> String {
    match digits {
        0 => format!("cast({name} AS char)"),
        _ => format!("trim(TRAILING '.' FROM trim(TRAILING '0' FROM cast({name} AS char)))"),
    }
}

fn float_text(text: &str, is_single: bool) -> String {
    let mut out = Vec::new();
    match float::float(text, is_single, &mut out) {
        Ok(_) => String::from_utf8_lossy(&out).into_owned(),
        Err(_) => text.to_owned(),
    }
}

#[derive(Clone, Debug, Default)]
pub struct Statements {
    /// Quoted, with its database.
    pub table: String,
    pub keys: Vec<SqlColumn>,
    pub values: Vec<SqlColumn>,
}

impl Statements {
    pub fn columns(&self) -> impl Iterator<Item = &SqlColumn> {
        self.keys.iter().chain(&self.values)
    }

    /// Of every row: the hash of its key, and of all of it.
    fn hashed(&self) -> String {
        let (key, row) = (md5_half(&netstrings(self.keys.iter())), md5_half(&netstrings(self.columns())));
        format!("SELECT {key} AS k, {row} AS h FROM {}", self.table)
    }

    /// By bucket, those that are kept as finer ones by these.
    pub fn sums(&self) -> String {
        let last = BUCKETS - 1;
        format!(
            "SELECT k & if(k & {last} < {SAMPLED}, {FINER_BITS}, {last}) AS b, count(*), cast(sum(h) AS char) \
             FROM ({}) AS hashed GROUP BY b ORDER BY NULL",
            self.hashed()
        )
    }

    /// The limit is none; it keeps the server from computing the hashes anew wherever they are used.
    pub fn cells(&self, buckets: &[usize], size: usize) -> String {
        let check = md5_half("lower(hex(k ^ h))");
        format!(
            "SELECT part, (((h >> ({PART_BITS} * part)) & {}) * {size}) >> {PART_BITS} AS cell, count(*), cast(sum(k) AS char), cast(sum(h) AS char), \
             cast(sum({check}) AS char) \
             FROM ({}{} LIMIT 18446744073709551615) AS hashed, \
             (SELECT 0 AS part UNION ALL SELECT 1 UNION ALL SELECT 2) AS parts GROUP BY part, cell",
            (1 << PART_BITS) - 1,
            self.hashed(),
            self.within(buckets)
        )
    }

    pub fn digests(&self, buckets: &[usize]) -> String {
        format!("{}{}", self.hashed(), self.within(buckets))
    }

    fn within(&self, buckets: &[usize]) -> String {
        if buckets.len() == BUCKETS {
            return String::new();
        }
        // As hexadecimal digits: among numbers with and without a sign the server searches one by one.
        let list: Vec<String> = buckets.iter().map(|bucket| format!("'{bucket:03x}'")).collect();
        let key = netstrings(self.keys.iter());
        format!(" WHERE substr(md5({key}), 14, 3) IN ({})", list.join(","))
    }

    /// The condition that a row is of this part.
    pub fn is_of(&self, part: Part) -> String {
        let key = md5_half(&netstrings(self.keys.iter()));
        format!("({key} & {}) % {} = {}", BUCKETS - 1, part.of, part.index)
    }

    pub fn all_rows(&self) -> String {
        let fetched: Vec<String> = self.columns().map(SqlColumn::fetched).collect();
        format!("SELECT {} FROM {}", fetched.join(", "), self.table)
    }

    /// A `?` for each column of each key.
    pub fn rows(&self, keys: usize) -> String {
        let conditions: Vec<String> = self.keys.iter().map(SqlColumn::equals).collect();
        let one = format!("({})", conditions.join(" AND "));
        format!("{} WHERE {}", self.all_rows(), vec![one; keys].join(" OR "))
    }

    pub fn rows_by_hash(&self, hashes: &[u64]) -> String {
        let list: Vec<String> = hashes.iter().map(|hash| format!("'{hash:016x}'")).collect();
        let key = netstrings(self.keys.iter());
        format!("{} WHERE left(md5({key}), 16) IN ({})", self.all_rows(), list.join(","))
    }
}

/// A value that is not null and yet gives null, because it is longer than a packet, must not pass for null.
fn netstrings<'c>(columns: impl Iterator<Item = &'c SqlColumn>) -> String {
    let parts: Vec<String> = columns
        .map(|column| {
            let text = column.text().unwrap_or_else(|| column.name.clone());
            let framed = format!("octet_length({text}), ':', {text}, ','");
            match column.is_nullable {
                true => format!("if({} IS NULL, '-', concat({framed}))", column.name),
                false => framed,
            }
        })
        .collect();
    format!("concat({})", parts.join(", "))
}

/// First half of the MD5, as a number.
fn md5_half(text: &str) -> String {
    format!("cast(conv(left(md5({text}), 16), 16, 10) AS unsigned)")
}

/// An identifier as SQL writes it.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
