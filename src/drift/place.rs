//! Where a store is: one URL for each side of a comparison.

mod mysql;
mod sqlite;

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::canon::time::Unit;
pub use mysql::MysqlPlace;
pub use sqlite::SqlitePlace;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Topic(TopicPlace),
    Postgres(PostgresPlace),
    Mysql(MysqlPlace),
    Sqlite(SqlitePlace),
}

/// `kafka://HOST:PORT[,HOST:PORT]/TOPIC?key=…&value=…&time=…`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPlace {
    /// Empty: those of `-b`.
    pub brokers: String,
    pub topic: String,
    pub key: KeyFrom,
    pub form: Form,
    /// What plain numbers in columns of time count.
    pub time: Option<Unit>,
}

/// Where the columns of the key stand in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFrom {
    /// The record's key: the value itself, or an object with a member for each column.
    Key,
    /// Members of the value.
    Value,
}

/// What a record's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An object with a member for each column; null is a deletion.
    Json,
    /// Debezium's envelope: op, before, after, source.
    Debezium,
}

/// `postgres://USER@HOST:PORT/DATABASE?table=…&key=…`
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresPlace {
    /// The URL as libpq reads it: without what is ours.
    pub url: String,
    pub table: String,
    /// Columns of the key; the primary key when empty.
    pub key: Vec<String>,
    pub tls: TlsMode,
    pub root_certificate: Option<String>,
    /// The replication slot by which changes of the table are captured.
    pub slot: Option<String>,
}

/// libpq's `sslmode`, and MySQL's `ssl-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    Disable,
    /// Where the server offers it; what libpq does unless told otherwise.
    Prefer,
    /// Whoever the server is.
    Require,
    VerifyCa,
    VerifyFull,
}

/// Never a password.
impl fmt::Debug for PostgresPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresPlace").field("table", &self.table).field("key", &self.key).finish_non_exhaustive()
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    #[error(
        "\"{0}\" names no store; expected kafka://HOST:PORT/TOPIC, postgres://USER@HOST/DATABASE?table=NAME, mysql://… or sqlite:FILE?table=NAME"
    )]
    Scheme(String),
    #[error("{store}: no {what} in the URL; expected {expected}")]
    Missing { store: &'static str, what: &'static str, expected: &'static str },
    #[error("{store}: \"{name}={value}\" is not known; {expected}")]
    Unknown { store: &'static str, name: String, value: String, expected: &'static str },
}

type Options = Vec<(String, String)>;

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let (scheme, rest) = match (text.split_once("://"), text.strip_prefix("sqlite:")) {
            (Some(parts), _) => parts,
            (None, Some(file)) => ("sqlite", file),
            (None, None) => return Err(PlaceError::Scheme(without_secret(text))),
        };
        let (rest, options) = match rest.split_once('?') {
            Some((rest, query)) => (rest, options(query)),
            None => (rest, Vec::new()),
        };
        match scheme {
            "kafka" => topic(rest, options).map(Place::Topic),
            "postgres" | "postgresql" => postgres(scheme, rest, options).map(Place::Postgres),
            "mysql" | "mariadb" => mysql::parse(rest, options).map(Place::Mysql),
            "sqlite" => sqlite::parse(rest, options).map(Place::Sqlite),
            _ => Err(PlaceError::Scheme(without_secret(text))),
        }
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn columns(list: &str) -> Vec<String> {
    list.split(',').map(|column| column.trim().to_owned()).collect()
}

fn options(query: &str) -> Options {
    let each = query.split('&').filter(|part| !part.is_empty());
    each.map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// What stands between the scheme and @ may be a password.
fn without_secret(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}://…{}", &text[..scheme], &text[at..]),
        _ => text.to_owned(),
    }
}

fn topic(rest: &str, options: Options) -> Result<TopicPlace, PlaceError> {
    let store = "kafka";
    let (brokers, topic) = rest.split_once('/').unwrap_or((rest, ""));
    if topic.is_empty() {
        return Err(PlaceError::Missing { store, what: "topic", expected: "kafka://HOST:PORT/TOPIC" });
    }
    let topic = decode(topic);
    let mut place = TopicPlace { brokers: brokers.to_owned(), topic, key: KeyFrom::Key, form: Form::Json, time: None };
    for (name, value) in options {
        let expected = match (name.as_str(), value.as_str()) {
            ("key", "key") => {
                place.key = KeyFrom::Key;
                continue;
            }
            ("key", "value") => {
                place.key = KeyFrom::Value;
                continue;
            }
            ("value", "json") => {
                place.form = Form::Json;
                continue;
            }
            ("value", "debezium") => {
                place.form = Form::Debezium;
                continue;
            }
            ("time", unit) => match Unit::parse(unit) {
                Some(unit) => {
                    place.time = Some(unit);
                    continue;
                }
                None => "time is s, ms, us or ns",
            },
            ("key", _) => "key is key (the record's) or value (members of the value)",
            ("value", _) => "value is json or debezium",
            _ => "there are key, value and time",
        };
        return Err(PlaceError::Unknown { store, name, value, expected });
    }
    Ok(place)
}

fn postgres(scheme: &str, rest: &str, options: Options) -> Result<PostgresPlace, PlaceError> {
    let (mut table, mut key, mut tls) = (String::new(), Vec::new(), TlsMode::Prefer);
    let (mut root_certificate, mut slot) = (None, None);
    let mut theirs = Vec::new();
    for (name, value) in options {
        match name.as_str() {
            "table" => table = value,
            "key" => key = columns(&value),
            "sslmode" => tls = tls_mode(value)?,
            "sslrootcert" => root_certificate = Some(value),
            "slot" => slot = Some(value),
            _ => {
                let encode = |text: &str| {
                    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
                };
                theirs.push(format!("{}={}", encode(&name), encode(&value)));
            }
        }
    }
    if table.is_empty() {
        let expected = "postgres://USER@HOST/DATABASE?table=SCHEMA.NAME";
        return Err(PlaceError::Missing { store: "postgres", what: "table", expected });
    }
    let query = if theirs.is_empty() { String::new() } else { format!("?{}", theirs.join("&")) };
    Ok(PostgresPlace { url: format!("{scheme}://{rest}{query}"), table, key, tls, root_certificate, slot })
}

fn tls_mode(value: String) -> Result<TlsMode, PlaceError> {
    Ok(match value.as_str() {
        "disable" => TlsMode::Disable,
        "allow" | "prefer" => TlsMode::Prefer,
        "require" => TlsMode::Require,
        "verify-ca" => TlsMode::VerifyCa,
        "verify-full" => TlsMode::VerifyFull,
        _ => {
            let expected = "sslmode is disable, prefer, require, verify-ca or verify-full";
            return Err(PlaceError::Unknown { store: "postgres", name: "sslmode".to_owned(), value, expected });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Place, PlaceError> {
        text.parse()
    }

    #[test]
    fn urls_name_stores() {
        let Ok(Place::Topic(topic)) = parse("kafka://a:9092,b:9092/orders?key=value&value=debezium&time=us") else {
            panic!("a topic")
        };
        assert_eq!((topic.brokers.as_str(), topic.topic.as_str()), ("a:9092,b:9092", "orders"));
        assert_eq!((topic.key, topic.form, topic.time), (KeyFrom::Value, Form::Debezium, Some(Unit::Micros)));
        let Ok(Place::Postgres(table)) =
            parse("postgres://me:secret@db:5433/shop?table=public.orders&key=a,%20b&sslmode=require")
        else {
            panic!("a table")
        };
        assert_eq!(table.url, "postgres://me:secret@db:5433/shop");
        assert_eq!((table.table.as_str(), table.key.join("+").as_str()), ("public.orders", "a+b"));
        assert!(!format!("{table:?}").contains("secret"));
        let Ok(Place::Mysql(table)) = parse("mariadb://me:se%2Fcret@[::1]:3307/shop?table=orders&key=a") else {
            panic!("a table")
        };
        assert_eq!((table.host.as_deref(), table.port), (Some("::1"), Some(3_307)));
        assert_eq!((table.user.as_deref(), table.password.as_deref()), (Some("me"), Some("se/cret")));
        assert_eq!((table.database.as_str(), table.table.as_str(), table.tls), ("shop", "orders", TlsMode::Prefer));
        assert!(!format!("{table:?}").contains("cret"));
        for (text, file) in [("sqlite:a%20b.db", "a b.db"), ("sqlite:///var/a.db", "/var/a.db"), ("sqlite:/a", "/a")] {
            let Ok(Place::Sqlite(table)) = parse(&format!("{text}?table=orders&key=a,b&time=ms")) else {
                panic!("a table")
            };
            assert_eq!((table.file.as_str(), table.key.len(), table.time), (file, 2, Some(Unit::Millis)));
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (text, said) in [
            ("orders", "names no store"),
            ("oracle://me:secret@x/y", "names no store"),
            ("kafka://b:9092", "no topic"),
            ("kafka://b:9092/t?value=avro", "json or debezium"),
            ("kafka://b:9092/t?foo=1", "there are key, value and time"),
            ("postgres://me:secret@db/shop", "no table"),
            ("mysql://me:secret@db/shop", "no table"),
            ("mysql://me:secret@db/?table=t", "no database"),
            ("mariadb://me:secret@db/shop?table=t&ssl-mode=maybe", "ssl-mode is DISABLED"),
            ("mysql://me:secret@db/shop?table=t&ssl-mode=VERIFY_CA", "VERIFY_IDENTITY"),
            ("sqlite:?table=t", "no file"),
            ("sqlite:shop.db", "no table"),
            ("sqlite:shop.db?table=t&mode=rw", "there are table, key and time"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(said) && !error.contains("secret"), "{error}");
        }
    }
}
