//! `mysql://USER@HOST:PORT/DATABASE?table=…&key=…`, or `mariadb://`.

use std::fmt;

use super::{Options, PlaceError, TlsMode, columns, decode};

const STORE: &str = "mysql";
const EXPECTED: &str = "mysql://USER@HOST/DATABASE?table=NAME";

/// What is absent comes from the option file, as the `mysql` client would have it.
#[derive(Clone, PartialEq, Eq)]
pub struct MysqlPlace {
    pub user: Option<String>,
    pub password: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub database: String,
    pub table: String,
    /// Columns of the key; the primary key when empty.
    pub key: Vec<String>,
    pub tls: TlsMode,
    pub root_certificate: Option<String>,
    /// Read instead of `~/.my.cnf`.
    pub defaults_file: Option<String>,
}

/// Never a password.
impl fmt::Debug for MysqlPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, database, table, .. } = self;
        write!(f, "MysqlPlace({host:?} {database} {table})")
    }
}

pub(super) fn parse(rest: &str, options: Options) -> Result<MysqlPlace, PlaceError> {
    let missing = |what| PlaceError::Missing { store: STORE, what, expected: EXPECTED };
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, address) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(decode(password))),
        None => (login, None),
    };
    let (host, port) = address_of(address)?;
    let some = |text: &str| (!text.is_empty()).then(|| decode(text));
    let mut place = MysqlPlace {
        user: some(user),
        password,
        host: some(host),
        port,
        database: decode(database),
        table: String::new(),
        key: Vec::new(),
        tls: TlsMode::Prefer,
        root_certificate: None,
        defaults_file: None,
    };
    for (name, value) in options {
        match name.as_str() {
            "table" => place.table = value,
            "key" => place.key = columns(&value),
            "ssl-mode" => place.tls = tls_mode(value)?,
            "ssl-ca" => place.root_certificate = Some(value),
            "defaults-file" => place.defaults_file = Some(value),
            _ => {
                let expected = "there are table, key, ssl-mode, ssl-ca and defaults-file";
                return Err(PlaceError::Unknown { store: STORE, name, value, expected });
            }
        }
    }
    match (place.database.is_empty(), place.table.is_empty()) {
        (true, _) => Err(missing("database")),
        (_, true) => Err(missing("table")),
        _ => Ok(place),
    }
}

/// `HOST`, `HOST:PORT`, `[IPV6]:PORT`.
fn address_of(address: &str) -> Result<(&str, Option<u16>), PlaceError> {
    let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    let wrong = |value: &str| PlaceError::Unknown {
        store: STORE,
        name: "port".to_owned(),
        value: value.to_owned(),
        expected: "a port is a number",
    };
    let port = port.map(|port| port.parse().map_err(|_| wrong(port))).transpose()?;
    Ok((host, port))
}

fn tls_mode(value: String) -> Result<TlsMode, PlaceError> {
    let expected = match value.to_ascii_uppercase().as_str() {
        "DISABLED" => return Ok(TlsMode::Disable),
        "PREFERRED" => return Ok(TlsMode::Prefer),
        "REQUIRED" => return Ok(TlsMode::Require),
        "VERIFY_IDENTITY" => return Ok(TlsMode::VerifyFull),
        // The client beneath always trusts the public authorities too: without the name that would prove nothing.
        "VERIFY_CA" => "sordini looks at the server's name too: use VERIFY_IDENTITY",
        _ => "ssl-mode is DISABLED, PREFERRED, REQUIRED or VERIFY_IDENTITY",
    };
    Err(PlaceError::Unknown { store: STORE, name: "ssl-mode".to_owned(), value, expected })
}
