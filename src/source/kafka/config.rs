//! Settings under librdkafka's names, resolved for the raw client.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::tls::{self, Pem, TlsConfig};
use crate::source::{Properties, SourceError};
use crate::wire::Scratch;

#[derive(Debug)]
pub struct Config {
    pub brokers: Vec<String>,
    pub tls: Option<Arc<ClientConfig>>,
    pub sasl: Option<SaslConfig>,
    pub client_id: String,
    pub connect_timeout: Duration,
    pub request_timeout: Duration,
    /// How long a partition may stay unreadable before the reader gives it up.
    pub retry_for: Duration,
    /// Largest answer; 4–16 MB are read fastest.
    pub fetch_max_bytes: i32,
    /// What a compressed batch may grow to before it counts as a bomb.
    pub max_batch_bytes: usize,
    pub fetch_wait: Duration,
}

#[derive(Clone)]
pub enum SaslConfig {
    Plain { username: String, password: String },
    Scram { mechanism: &'static str, username: String, password: String },
    OAuthBearer(Token),
}

#[derive(Clone)]
pub enum Token {
    Text(String),
    /// A command that prints the token; asked again at every connection.
    Command(String),
}

impl std::fmt::Debug for SaslConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never a password or a token.
        f.write_str(self.mechanism())
    }
}

impl SaslConfig {
    pub fn mechanism(&self) -> &'static str {
        match self {
            SaslConfig::Plain { .. } => "PLAIN",
            SaslConfig::Scram { mechanism, .. } => mechanism,
            SaslConfig::OAuthBearer(_) => "OAUTHBEARER",
        }
    }

    /// What to look at when the broker refuses.
    pub fn check(&self) -> &'static str {
        match self {
            SaslConfig::OAuthBearer(_) => "get a fresh token, and see that the broker accepts its issuer",
            _ => "check sasl.username and sasl.password",
        }
    }
}

/// Settings this client understands.
const KNOWN: &[&str] = &[
    "bootstrap.servers",
    "metadata.broker.list",
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "sordini.oauth.token",
    "sordini.oauth.token.command",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.key.location",
    "ssl.key.pem",
    "enable.ssl.certificate.verification",
    "ssl.endpoint.identification.algorithm",
    "client.id",
    "socket.timeout.ms",
    "socket.connection.setup.timeout.ms",
    "fetch.max.bytes",
    "sordini.max.batch.bytes",
    "fetch.wait.max.ms",
    "sordini.retry.ms",
];

/// Settings of librdkafka that mean nothing here and do no harm. None about security is among them: what protects a
/// connection there must not be left out here without a word.
const MEANINGLESS: &[&str] = &[
    "allow.auto.create.topics",
    "api.version.fallback.ms",
    "api.version.request",
    "api.version.request.timeout.ms",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "broker.address.family",
    "broker.address.ttl",
    "broker.version.fallback",
    "check.crcs",
    "client.rack",
    "connections.max.idle.ms",
    "debug",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "enable.metrics.push",
    "fetch.error.backoff.ms",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "isolation.level",
    "log.connection.close",
    "log.queue",
    "log.thread.name",
    "log_level",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "message.max.bytes",
    "metadata.max.age.ms",
    "partition.assignment.strategy",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "session.timeout.ms",
    "socket.keepalive.enable",
    "socket.max.fails",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "statistics.interval.ms",
    "topic.blacklist",
    "topic.metadata.propagation.max.ms",
    "topic.metadata.refresh.fast.interval.ms",
    "topic.metadata.refresh.interval.ms",
    "topic.metadata.refresh.sparse",
];

impl Config {
    pub fn resolve(properties: &Properties) -> Result<Self, SourceError> {
        for name in properties.keys() {
            if MEANINGLESS.contains(&name.as_str()) {
                tracing::debug!(name, "this setting means nothing to the raw client");
            } else if !KNOWN.contains(&name.as_str()) {
                return Err(unknown(name));
            }
        }
        let get = |name: &str| properties.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let brokers = get("bootstrap.servers").or_else(|| get("metadata.broker.list")).unwrap_or_default();
        let brokers: Vec<String> = brokers.split(',').map(|b| b.trim().to_owned()).filter(|b| !b.is_empty()).collect();
        if brokers.is_empty() {
            return Err(setting("bootstrap.servers", "no broker is named; give -b HOST:PORT"));
        }
        let protocol = get("security.protocol").unwrap_or("plaintext").to_ascii_lowercase();
        let (tls, sasl) = match protocol.as_str() {
            "plaintext" => (false, false),
            "ssl" => (true, false),
            "sasl_plaintext" => (false, true),
            "sasl_ssl" => (true, true),
            _ => return Err(setting("security.protocol", "use PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")),
        };
        if !sasl && KNOWN.iter().any(|name| name.starts_with("sasl.") && get(name).is_some()) {
            return Err(setting("security.protocol", "sasl settings are given; set it to SASL_SSL or SASL_PLAINTEXT"));
        }
        Ok(Self {
            brokers,
            tls: tls.then(|| tls_config(&get).and_then(|tls| tls::client_config(&tls))).transpose()?,
            sasl: sasl.then(|| sasl_config(&get)).transpose()?,
            client_id: get("client.id").unwrap_or("sordini").to_owned(),
            connect_timeout: millis(&get, "socket.connection.setup.timeout.ms", 10_000)?,
            request_timeout: millis(&get, "socket.timeout.ms", 30_000)?,
            retry_for: millis(&get, "sordini.retry.ms", 60_000)?,
            max_batch_bytes: number(&get, "sordini.max.batch.bytes", Scratch::DEFAULT_LIMIT as u64)? as usize,
            fetch_max_bytes: number(&get, "fetch.max.bytes", 16 << 20)?.clamp(1 << 16, 64 << 20) as i32,
            fetch_wait: millis(&get, "fetch.wait.max.ms", 500)?,
        })
    }
}

fn setting(name: &str, why: &str) -> SourceError {
    SourceError::Setting { name: name.to_owned(), why: why.to_owned() }
}

fn unknown(name: &str) -> SourceError {
    let near = nearest(name, KNOWN.iter().chain(MEANINGLESS).copied(), 1);
    // As other programs call it.
    let is_brokers = matches!(name, "brokers" | "broker" | "bootstrap" | "bootstrap_servers");
    let why = match near.first().or(is_brokers.then_some(&"bootstrap.servers")) {
        Some(near) => format!("no such setting; did you mean {near}?"),
        None => "sordini's own client has no such setting; --client librdkafka takes all of librdkafka's".to_owned(),
    };
    SourceError::Setting { name: name.to_owned(), why }
}

/// The names most like the given one, by edit distance; none that is more than a third different.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>, most: usize) -> Vec<&'a str> {
    let limit = (name.len() / 3).max(1);
    let mut near: Vec<(usize, &str)> = names.map(|n| (distance(name, n), n)).filter(|(d, _)| *d <= limit).collect();
    near.sort();
    near.into_iter().map(|(_, name)| name).take(most).collect()
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

type Get<'a> = dyn Fn(&str) -> Option<&'a str> + 'a;

fn number(get: &Get<'_>, name: &str, default: u64) -> Result<u64, SourceError> {
    match get(name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| setting(name, "expected a whole number")),
    }
}

fn millis(get: &Get<'_>, name: &str, default: u64) -> Result<Duration, SourceError> {
    number(get, name, default).map(|ms| Duration::from_millis(ms.max(1)))
}

/// Whether a setting has its first, default value; anything but its two values is an error.
fn one_of(get: &Get<'_>, name: &str, yes: &str, no: &str) -> Result<bool, SourceError> {
    match get(name) {
        None => Ok(true),
        Some(text) if text.eq_ignore_ascii_case(yes) => Ok(true),
        Some(text) if text.eq_ignore_ascii_case(no) => Ok(false),
        Some(_) => Err(setting(name, &format!("use {yes} or {no}"))),
    }
}

fn tls_config(get: &Get<'_>) -> Result<TlsConfig, SourceError> {
    let pem = |what: &str| {
        let text = get(&format!("ssl.{what}.pem")).map(|text| Pem::Text(text.to_owned()));
        text.or_else(|| get(&format!("ssl.{what}.location")).map(|path| Pem::File(path.to_owned())))
    };
    let (certificate, key) = (pem("certificate"), pem("key"));
    if certificate.is_some() != key.is_some() {
        return Err(setting(
            "ssl.key.location",
            "a client certificate needs both ssl.certificate.location and ssl.key.location",
        ));
    }
    Ok(TlsConfig {
        ca: pem("ca"),
        certificate,
        key,
        verify: one_of(get, "enable.ssl.certificate.verification", "true", "false")?,
        verify_name: one_of(get, "ssl.endpoint.identification.algorithm", "https", "none")?,
    })
}

fn sasl_config(get: &Get<'_>) -> Result<SaslConfig, SourceError> {
    let mechanism = get("sasl.mechanism").or_else(|| get("sasl.mechanisms")).unwrap_or_default().to_ascii_uppercase();
    let credentials = || match (get("sasl.username"), get("sasl.password")) {
        (Some(username), Some(password)) => Ok((username.to_owned(), password.to_owned())),
        _ => Err(setting("sasl.username", "this mechanism needs sasl.username and sasl.password")),
    };
    let scram =
        |mechanism| credentials().map(|(username, password)| SaslConfig::Scram { mechanism, username, password });
    match mechanism.as_str() {
        "PLAIN" => credentials().map(|(username, password)| SaslConfig::Plain { username, password }),
        "SCRAM-SHA-256" => scram("SCRAM-SHA-256"),
        "SCRAM-SHA-512" => scram("SCRAM-SHA-512"),
        "OAUTHBEARER" => match (get("sordini.oauth.token"), get("sordini.oauth.token.command")) {
            (Some(token), _) => Ok(SaslConfig::OAuthBearer(Token::Text(token.to_owned()))),
            (None, Some(command)) => Ok(SaslConfig::OAuthBearer(Token::Command(command.to_owned()))),
            _ => Err(setting(
                "sordini.oauth.token",
                "OAUTHBEARER needs a token, or sordini.oauth.token.command that prints one",
            )),
        },
        "GSSAPI" => Err(setting("sasl.mechanism", "Kerberos needs --client librdkafka")),
        _ => Err(setting("sasl.mechanism", "use PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(settings: &[(&str, &str)]) -> Result<Config, String> {
        let properties = settings.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Config::resolve(&properties).map_err(|error| error.to_string())
    }

    #[test]
    fn a_misspelt_setting_names_its_neighbour() {
        let error = resolve(&[("bootstrap.servers", "a:1"), ("sasl.mechanizm", "PLAIN")]).unwrap_err();
        assert!(error.contains("did you mean sasl.mechanism?"), "{error}");
    }

    #[test]
    fn what_belongs_together_is_asked_for() {
        let base = ("bootstrap.servers", "a:1, b:2,");
        assert_eq!(resolve(&[base]).unwrap().brokers, ["a:1", "b:2"]);
        assert!(resolve(&[]).unwrap_err().contains("-b HOST:PORT"));
        assert!(resolve(&[base, ("sasl.username", "u")]).unwrap_err().contains("SASL_SSL"));
        assert!(resolve(&[base, ("security.protocol", "sasl_ssl"), ("sasl.mechanism", "PLAIN")]).is_err());
        assert!(resolve(&[base, ("security.protocol", "SSL"), ("ssl.key.location", "k")]).is_err());
        for (name, value) in [("enable.ssl.certificate.verification", "maybe"), ("fetch.max.bytes", "much")] {
            assert!(resolve(&[base, ("security.protocol", "SSL"), (name, value)]).unwrap_err().contains(name));
        }
        assert!(resolve(&[base, ("ssl.crl.location", "x")]).is_err(), "what protects is never left out silently");
        assert!(resolve(&[base, ("statistics.interval.ms", "0")]).is_ok());
        let full = [
            base,
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanisms", "SCRAM-SHA-512"),
            ("sasl.username", "u"),
            ("sasl.password", "p"),
        ];
        let config = resolve(&full).unwrap();
        assert_eq!(format!("{:?}", config.sasl), "Some(SCRAM-SHA-512)", "no password in a debug print");
    }

    #[test]
    fn distances_are_levenshteins() {
        for (a, b, expected) in [("", "", 0), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("abc", "", 3)] {
            assert_eq!(distance(a, b), expected);
        }
    }
}
