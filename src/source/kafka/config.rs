//! Settings under librdkafka's names, resolved for the raw client.

use std::time::Duration;

use crate::source::{Properties, SourceError};

#[derive(Clone, Debug)]
pub struct Config {
    pub brokers: Vec<String>,
    pub tls: Option<TlsConfig>,
    pub sasl: Option<SaslConfig>,
    pub client_id: String,
    pub connect_timeout: Duration,
    pub request_timeout: Duration,
    /// How long a partition may stay unreadable before the reader gives it up.
    pub retry_for: Duration,
    /// Largest answer; 4–16 MB read fastest.
    pub fetch_max_bytes: i32,
    pub fetch_wait: Duration,
}

#[derive(Clone, Debug, Default)]
pub struct TlsConfig {
    /// PEM text, or a file of it; the system's authorities when absent.
    pub ca: Option<Pem>,
    pub certificate: Option<Pem>,
    pub key: Option<Pem>,
    pub verify: bool,
    pub verify_name: bool,
}

#[derive(Clone, Debug)]
pub enum Pem {
    Text(String),
    File(String),
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
}

/// Settings this client understands.
const KNOWN: &[&str] = &[
    "bootstrap.servers", "metadata.broker.list", "security.protocol", "sasl.mechanism", "sasl.mechanisms",
    "sasl.username", "sasl.password", "sordini.oauth.token", "sordini.oauth.token.command", "ssl.ca.location",
    "ssl.ca.pem", "ssl.certificate.location", "ssl.certificate.pem", "ssl.key.location", "ssl.key.pem",
    "enable.ssl.certificate.verification", "ssl.endpoint.identification.algorithm", "client.id", "socket.timeout.ms",
    "socket.connection.setup.timeout.ms", "fetch.max.bytes", "fetch.wait.max.ms", "sordini.retry.ms",
];

/// Settings of librdkafka that mean nothing here and do no harm.
const IGNORED: &[&str] = &[
    "group.id", "group.instance.id", "auto.offset.reset", "enable.auto.commit", "enable.auto.offset.store", "check.crcs",
    "isolation.level", "session.timeout.ms", "heartbeat.interval.ms", "max.poll.interval.ms", "client.rack", "debug",
    "log_level", "statistics.interval.ms", "socket.keepalive.enable", "socket.nagle.disable", "reconnect.backoff.ms",
    "reconnect.backoff.max.ms", "metadata.max.age.ms", "topic.metadata.refresh.interval.ms", "broker.address.family",
    "broker.address.ttl", "api.version.request", "broker.version.fallback", "queued.min.messages",
    "queued.max.messages.kbytes", "fetch.message.max.bytes", "max.partition.fetch.bytes", "fetch.min.bytes",
    "enable.partition.eof", "receive.message.max.bytes", "allow.auto.create.topics",
];

impl Config {
    pub fn resolve(properties: &Properties) -> Result<Self, SourceError> {
        for name in properties.keys() {
            if IGNORED.contains(&name.as_str()) {
                tracing::debug!(name, "setting means nothing to the raw client");
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
        if !sasl && (get("sasl.username").is_some() || get("sasl.mechanism").is_some()) {
            return Err(setting("security.protocol", "sasl settings are given; set it to SASL_SSL or SASL_PLAINTEXT"));
        }
        Ok(Self {
            brokers,
            tls: tls.then(|| tls_config(&get)).transpose()?,
            sasl: sasl.then(|| sasl_config(&get)).transpose()?,
            client_id: get("client.id").unwrap_or("sordini").to_owned(),
            connect_timeout: millis(&get, "socket.connection.setup.timeout.ms", 10_000)?,
            request_timeout: millis(&get, "socket.timeout.ms", 30_000)?,
            retry_for: millis(&get, "sordini.retry.ms", 60_000)?,
            fetch_max_bytes: number(&get, "fetch.max.bytes", 8 << 20)?.clamp(1 << 16, 64 << 20) as i32,
            fetch_wait: millis(&get, "fetch.wait.max.ms", 500)?,
        })
    }
}

fn setting(name: &str, why: &str) -> SourceError {
    SourceError::Setting { name: name.to_owned(), why: why.to_owned() }
}

fn unknown(name: &str) -> SourceError {
    let near = nearest(name, KNOWN.iter().chain(IGNORED).copied(), 1);
    let why = match near.first() {
        Some(near) => format!("no such setting; did you mean {near}?"),
        None => "the raw client has no such setting; --client librdkafka takes all of librdkafka's".to_owned(),
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

fn tls_config(get: &Get<'_>) -> Result<TlsConfig, SourceError> {
    let pem = |what: &str| {
        let text = get(&format!("ssl.{what}.pem")).map(|text| Pem::Text(text.to_owned()));
        text.or_else(|| get(&format!("ssl.{what}.location")).map(|path| Pem::File(path.to_owned())))
    };
    let (certificate, key) = (pem("certificate"), pem("key"));
    if certificate.is_some() != key.is_some() {
        return Err(setting("ssl.key.location", "a client certificate needs both ssl.certificate.location and ssl.key.location"));
    }
    Ok(TlsConfig {
        ca: pem("ca"),
        certificate,
        key,
        verify: get("enable.ssl.certificate.verification") != Some("false"),
        verify_name: get("ssl.endpoint.identification.algorithm") != Some("none"),
    })
}

fn sasl_config(get: &Get<'_>) -> Result<SaslConfig, SourceError> {
    let mechanism = get("sasl.mechanism").or_else(|| get("sasl.mechanisms")).unwrap_or_default().to_ascii_uppercase();
    let credentials = || match (get("sasl.username"), get("sasl.password")) {
        (Some(username), Some(password)) => Ok((username.to_owned(), password.to_owned())),
        _ => Err(setting("sasl.username", "this mechanism needs sasl.username and sasl.password")),
    };
    let scram = |mechanism| credentials().map(|(username, password)| SaslConfig::Scram { mechanism, username, password });
    match mechanism.as_str() {
        "PLAIN" => credentials().map(|(username, password)| SaslConfig::Plain { username, password }),
        "SCRAM-SHA-256" => scram("SCRAM-SHA-256"),
        "SCRAM-SHA-512" => scram("SCRAM-SHA-512"),
        "OAUTHBEARER" => match (get("sordini.oauth.token"), get("sordini.oauth.token.command")) {
            (Some(token), _) => Ok(SaslConfig::OAuthBearer(Token::Text(token.to_owned()))),
            (None, Some(command)) => Ok(SaslConfig::OAuthBearer(Token::Command(command.to_owned()))),
            _ => Err(setting("sordini.oauth.token", "OAUTHBEARER needs a token, or sordini.oauth.token.command that prints one")),
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
        let full = [base, ("security.protocol", "SASL_SSL"), ("sasl.mechanisms", "SCRAM-SHA-512"), ("sasl.username", "u"), ("sasl.password", "p")];
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
