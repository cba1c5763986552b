//! A connection to PostgreSQL the way libpq makes one: its password files, its `sslmode`.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use ::postgres::config::{Host, SslMode};
use ::postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::drift::place::{PostgresPlace, TlsMode};
use crate::source::kafka::tls::{Pem, TlsConfig, client_config};

/// The error says what happened, never a password.
pub fn open(config: &Config, place: &PostgresPlace) -> Result<Client, String> {
    let mut config = config.clone();
    config.ssl_mode(match place.tls {
        TlsMode::Disable => SslMode::Disable,
        TlsMode::Prefer => SslMode::Prefer,
        TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
    });
    if place.tls == TlsMode::Disable {
        return config.connect(NoTls).map_err(|error| causes(&error));
    }
    let tls = TlsConfig {
        ca: place.root_certificate.clone().map(Pem::File),
        certificate: None,
        key: None,
        verify: matches!(place.tls, TlsMode::VerifyCa | TlsMode::VerifyFull),
        verify_name: place.tls == TlsMode::VerifyFull,
    };
    let tls = client_config(&tls).map_err(|error| error.to_string())?;
    config.connect(MakeRustlsConnect::new((*tls).clone())).map_err(|error| causes(&error))
}

/// `PGPASSWORD`, then the file `PGPASSFILE` names, then `~/.pgpass`.
pub fn password(config: &Config) -> Option<String> {
    if let Ok(password) = env::var("PGPASSWORD") {
        return Some(password);
    }
    let file = match env::var_os("PGPASSFILE") {
        Some(file) => PathBuf::from(file),
        None => PathBuf::from(env::var_os("HOME")?).join(".pgpass"),
    };
    let text = fs::read_to_string(file).ok()?;
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        _ => "localhost".to_owned(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5_432).to_string();
    let user = config.get_user().map_or_else(|| env::var("USER").unwrap_or_default(), str::to_owned);
    let database = config.get_dbname().unwrap_or(&user).to_owned();
    find(&text, [&host, &port, &database, &user])
}

/// Lines `host:port:database:user:password`; `*` stands for anything, a backslash takes the next character as it is.
fn find(text: &str, wanted: [&str; 4]) -> Option<String> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = fields(line);
        let (password, places) = fields.split_last().filter(|(_, places)| places.len() == wanted.len())?;
        let fits = places.iter().zip(wanted).all(|(place, wanted)| place == "*" || place == wanted);
        fits.then(|| password.clone())
    })
}

fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut characters) = (vec![String::new()], line.chars());
    while let Some(character) = characters.next() {
        let is_end = character == ':' && fields.len() < 5;
        if is_end {
            fields.push(String::new());
        } else if let Some(field) = fields.last_mut() {
            field.push(if character == '\\' { characters.next().unwrap_or('\\') } else { character });
        }
    }
    fields
}

/// An error and what caused it, in one line.
pub fn causes(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !said.contains(&more) {
            said = format!("{said}: {more}");
        }
        cause = error.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_file_is_read_as_libpq_reads_it() {
        let text = "# mine\ndb:5432:shop:other:no\n*:*:shop:audit:a\\:b\\\\c:d\nbroken\n";
        assert_eq!(find(text, ["db", "5432", "shop", "audit"]).as_deref(), Some("a:b\\c:d"));
        assert_eq!(find(text, ["db", "5432", "shop", "other"]).as_deref(), Some("no"));
        assert_eq!(find(text, ["db", "5432", "mail", "audit"]), None);
    }
}
