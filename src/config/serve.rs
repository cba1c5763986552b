//! The `[serve]` part of the configuration: where sordini listens, who may look, and which metric names it speaks. It only
//! says what was written; `serve::Settings` reads the secrets and refuses what is not safe.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;

/// Metric names of other exporters, served beside sordini's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compat {
    /// danielqsj/kafka_exporter, Strimzi, Grafana dashboard 7589.
    KafkaExporter,
    /// kafka-lag-exporter, klag-exporter.
    LagExporter,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ServeFile {
    pub listen: SocketAddr,
    pub compat: Vec<Compat>,
    /// Print −1 where kafka_exporter does: a partition the group never committed. Otherwise the series is left out.
    pub sentinels: bool,
    /// Holds the token that lets a person change something, and a program read.
    pub token_file: Option<PathBuf>,
    pub basic_auth: Option<BasicAuthFile>,
    pub tls: Option<TlsFile>,
    /// How others reach this page, for links and behind a proxy: `https://sordini.example.com`.
    pub external_url: Option<String>,
    /// Lets anybody read `/metrics`.
    pub metrics_without_auth: bool,
}

impl Default for ServeFile {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9318)),
            compat: Vec::new(),
            sentinels: false,
            token_file: None,
            basic_auth: None,
            tls: None,
            external_url: None,
            metrics_without_auth: false,
        }
    }
}

/// People and programs who may look. Either a file of users or one user.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct BasicAuthFile {
    /// A line each: `name:password`, or `name:sha256:HEX` with the hash of a long random password.
    pub users_file: Option<PathBuf>,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TlsFile {
    /// Chain in PEM form, own certificate first.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_written_means_loopback_and_own_names_only() {
        let file: ServeFile = toml::from_str("").unwrap();
        assert_eq!(file.listen.to_string(), "127.0.0.1:9318");
        assert!(file.compat.is_empty() && !file.sentinels && !file.metrics_without_auth);
    }

    #[test]
    fn every_key_is_read_and_unknown_ones_are_refused() {
        let file: ServeFile = toml::from_str(
            "listen = \"[::]:9318\"\ncompat = [\"kafka_exporter\", \"lag_exporter\"]\nsentinels = true\n\
             token-file = \"t\"\nexternal-url = \"https://a\"\nmetrics-without-auth = true\n\
             [basic-auth]\nuser = \"a\"\npassword-file = \"p\"\n[tls]\ncertificate = \"c\"\nkey = \"k\"\n",
        )
        .unwrap();
        assert_eq!(file.compat, [Compat::KafkaExporter, Compat::LagExporter]);
        assert_eq!(file.basic_auth.unwrap().user.as_deref(), Some("a"));
        assert!(toml::from_str::<ServeFile>("lisen = 1").is_err());
        assert!(toml::from_str::<ServeFile>("[tls]\ncertificate = \"c\"").is_err());
    }
}
