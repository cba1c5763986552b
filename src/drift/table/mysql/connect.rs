//! A connection the way the `mysql` client makes one: its option file, its `ssl-mode`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use ::mysql::{Conn, DriverError, Error, OptsBuilder, SslOpts};

use crate::drift::place::{MysqlPlace, TlsMode};

const PATIENCE: Duration = Duration::from_secs(10);

/// Where to and as whom, after all that may say it.
pub struct Login {
    pub host: String,
    pub port: u16,
    user: Option<String>,
    password: Option<String>,
}

impl Login {
    /// The URL first, then the option file, then `MYSQL_PWD`.
    pub fn of(place: &MysqlPlace) -> Result<Self, String> {
        let file = Options::load(place)?;
        let port = match &file.port {
            Some(port) => Some(port.parse().map_err(|_| format!("the option file's port \"{port}\" is no number"))?),
            None => None,
        };
        Ok(Self {
            host: place.host.clone().or(file.host).unwrap_or_else(|| "127.0.0.1".to_owned()),
            port: place.port.or(port).unwrap_or(3_306),
            user: place.user.clone().or(file.user).or_else(|| env::var("USER").ok()),
            password: place.password.clone().or(file.password).or_else(|| env::var("MYSQL_PWD").ok()),
        })
    }
}

/// The error never tells a password.
pub fn open(login: &Login, place: &MysqlPlace) -> Result<Conn, Error> {
    let options = OptsBuilder::new()
        .ip_or_hostname(Some(login.host.clone()))
        .tcp_port(login.port)
        .user(login.user.clone())
        .pass(login.password.clone())
        .db_name(Some(place.database.clone()))
        // Else a server on this machine would be reached through its socket, not where the URL says.
        .prefer_socket(false)
        .connect_attrs(Some(HashMap::from([("program_name", "sordini")])))
        .tcp_connect_timeout(Some(PATIENCE))
        // A host that is gone without a word is noticed, however long a statement may take.
        .tcp_keepalive_time_ms(Some(60_000))
        .tcp_keepalive_probe_interval_secs(Some(10))
        .tcp_keepalive_probe_count(Some(6));
    if place.tls == TlsMode::Disable {
        return Conn::new(options);
    }
    let verifies = place.tls == TlsMode::VerifyFull;
    let tls = SslOpts::default()
        .with_root_cert_path(place.root_certificate.clone().map(PathBuf::from))
        .with_danger_accept_invalid_certs(!verifies);
    match Conn::new(options.clone().ssl_opts(tls)) {
        Err(Error::DriverError(DriverError::TlsNotSupported)) if place.tls == TlsMode::Prefer => Conn::new(options),
        opened => opened,
    }
}

/// What an option file says to clients.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    user: Option<String>,
    password: Option<String>,
    host: Option<String>,
    port: Option<String>,
}

impl Options {
    /// The file that was named must be there; the one of the home directory may.
    fn load(place: &MysqlPlace) -> Result<Self, String> {
        if let Some(file) = &place.defaults_file {
            let text = fs::read_to_string(file).map_err(|error| format!("option file {file}: {error}"))?;
            return Ok(Self::parse(&text));
        }
        let home = env::var_os("HOME").unwrap_or_default();
        Ok(fs::read_to_string(Path::new(&home).join(".my.cnf"))
            .map_or_else(|_| Self::default(), |text| Self::parse(&text)))
    }

    /// Of the group `[client]`; a later line wins.
    fn parse(text: &str) -> Self {
        let (mut options, mut is_ours) = (Self::default(), false);
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
            if let Some(group) = line.strip_prefix('[') {
                is_ours = group.trim_end_matches(']').trim() == "client";
            }
            let Some((name, value)) = line.split_once('=').filter(|_| is_ours) else { continue };
            let place = match name.trim() {
                "user" => &mut options.user,
                "password" => &mut options.password,
                "host" => &mut options.host,
                "port" => &mut options.port,
                _ => continue,
            };
            *place = Some(unquoted(value.trim()));
        }
        options
    }
}

/// Quotes go, escapes become what they stand for, and without quotes a comment ends the value.
fn unquoted(value: &str) -> String {
    let quote = value.chars().next().filter(|first| matches!(first, '\'' | '"'));
    let body = match quote {
        Some(quote) => value[1..].rfind(quote).map_or(&value[1..], |end| &value[1..=end]),
        None => value.split(" #").next().unwrap_or(value).trim_end(),
    };
    let (mut text, mut characters) = (String::new(), body.chars());
    while let Some(character) = characters.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        match characters.next() {
            Some('b') => text.push('\u{8}'),
            Some('t') => text.push('\t'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('s') => text.push(' '),
            Some('\\') | None => text.push('\\'),
            Some(other) => text.extend(['\\', other]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_file_is_read_as_the_client_reads_it() {
        let text = "[mysqld]\nport=1\n[client]\n# mine\nuser = audit\npassword=\"a#b\\\\c\\s'd\"\nport=3307 # here\n[mysql]\nuser=no\n";
        let some = |text: &str| Some(text.to_owned());
        let wanted = Options { user: some("audit"), password: some("a#b\\c 'd"), host: None, port: some("3307") };
        assert_eq!(Options::parse(text), wanted);
    }
}
