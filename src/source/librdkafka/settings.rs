//! From the user's properties to librdkafka's: what an audit depends on is fixed, what makes it fast is a default.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::audit::coverage::Isolation;
use crate::source::{Properties, SourceError};

/// Settings that decide whether what is read is true, and why no other value will do.
const FIXED: [(&str, &str, &str); 7] = [
    ("check.crcs", "true", "an audit that does not check CRCs would call damaged batches clean"),
    ("auto.offset.reset", "error", "any other value skips lost records without a word"),
    ("enable.auto.commit", "false", "an auditor must not move a group's offsets"),
    ("enable.auto.offset.store", "false", "positions are kept in the ledger"),
    ("enable.partition.eof", "true", "reading ends where librdkafka says that a partition ends"),
    ("allow.auto.create.topics", "false", "an auditor must not create topics"),
    ("group.protocol", "classic", "partitions are assigned here, not by the broker"),
];

/// Settings the user may change. Queues are sized for throughput, and a slow ledger may hold reading back for long.
const DEFAULTS: [(&str, &str); 7] = [
    ("client.id", "sordini"),
    ("queued.min.messages", "200000"),
    ("queued.max.messages.kbytes", "32768"),
    ("fetch.message.max.bytes", "4194304"),
    ("fetch.queue.backoff.ms", "10"),
    ("max.poll.interval.ms", "86400000"),
    // Retries are librdkafka's own; each is worth a line only when somebody looks for it.
    ("log.connection.close", "false"),
];

pub fn client_config(properties: &Properties, isolation: Isolation) -> Result<ClientConfig, SourceError> {
    let refuse = |name: &str, why: String| Err(SourceError::Setting { name: name.to_owned(), why });
    if !["bootstrap.servers", "metadata.broker.list"].iter().any(|name| properties.contains_key(*name)) {
        return refuse("bootstrap.servers", "no broker to connect to; name one with -b HOST:PORT".to_owned());
    }
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Info);
    for (name, value) in DEFAULTS {
        config.set(name, value);
    }
    // Partitions are assigned by hand; librdkafka still wants a group, and it must be nobody else's.
    config.set("group.id", format!("sordini-{:016x}", StdRng::from_os_rng().random::<u64>()));
    for (name, value) in properties {
        config.set(name, value);
    }
    for (name, value, why) in FIXED.into_iter().chain([("isolation.level", isolation.name(), "--isolation decides")]) {
        match properties.get(name) {
            Some(asked) if asked != value => return refuse(name, format!("must be {value}, not {asked}: {why}")),
            _ => config.set(name, value),
        };
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> Properties {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_the_user_sets_wins_over_defaults() {
        let asked = properties(&[("bootstrap.servers", "a:1"), ("client.id", "me"), ("group.id", "g")]);
        let config = client_config(&asked, Isolation::ReadCommitted).unwrap();
        assert_eq!(config.get("client.id"), Some("me"));
        assert_eq!(config.get("group.id"), Some("g"));
        assert_eq!(config.get("isolation.level"), Some("read_committed"));
        assert_eq!(config.get("fetch.queue.backoff.ms"), Some("10"));
    }

    #[test]
    fn what_an_audit_depends_on_cannot_be_set_otherwise() {
        for (name, value, _) in FIXED {
            let same = properties(&[("bootstrap.servers", "a:1"), (name, value)]);
            assert_eq!(client_config(&same, Isolation::ReadUncommitted).unwrap().get(name), Some(value));
            let other = properties(&[("bootstrap.servers", "a:1"), (name, "latest")]);
            let error = client_config(&other, Isolation::ReadUncommitted).unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid setting {name}: must be {value}, not latest")), "{error}");
        }
    }

    #[test]
    fn two_runs_never_share_a_group() {
        let asked = properties(&[("bootstrap.servers", "a:1")]);
        let group = || client_config(&asked, Isolation::ReadUncommitted).unwrap().get("group.id").map(str::to_owned);
        assert_ne!(group(), group());
    }

    #[test]
    fn without_a_broker_nothing_is_tried() {
        let error = client_config(&Properties::new(), Isolation::ReadUncommitted).unwrap_err();
        assert!(error.to_string().contains("-b HOST:PORT"));
    }
}
