//! The `[alert]` table: rules, sinks, grouping and the heartbeat, as written. What the values mean together (a route to a
//! sink that is not there, a template that does not render) is `alert`'s to judge.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::{duration, parse_duration};
use crate::alert::incident::Severity;
use crate::alert::mute::Window;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct AlertFile {
    /// The first that matches decides; what none matches follows the built-in ones.
    #[serde(rename = "rule")]
    pub rules: Vec<RuleFile>,
    pub alertmanager: Vec<AlertmanagerFile>,
    pub webhook: Vec<WebhookFile>,
    pub slack: Vec<SlackFile>,
    pub email: Vec<EmailFile>,
    pub command: Vec<CommandFile>,
    /// How long a first notification waits for others to go with it; 10s.
    #[serde(deserialize_with = "duration")]
    pub group_wait: Option<Duration>,
    /// Shortest time between two messages about one group of incidents; 1m.
    #[serde(deserialize_with = "duration")]
    pub group_interval: Option<Duration>,
    /// When an open incident nobody acknowledged is told again; 4h, 0s for never. Alertmanager repeats by itself.
    #[serde(deserialize_with = "duration")]
    pub repeat_interval: Option<Duration>,
    /// How long something must be gone before its incident is resolved; 1m.
    #[serde(deserialize_with = "duration")]
    pub resolve_after: Option<Duration>,
    /// From so many messages at one moment on they become one; 5.
    pub collapse: Option<usize>,
    pub heartbeat: Option<HeartbeatFile>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RuleFile {
    /// Globs; any of them. All kinds when left out.
    #[serde(deserialize_with = "one_or_more")]
    pub kind: Vec<String>,
    #[serde(deserialize_with = "one_or_more")]
    pub topic: Vec<String>,
    #[serde(deserialize_with = "one_or_more")]
    pub group: Vec<String>,
    pub severity: Option<Severity>,
    /// How long it must be observed before it opens; events open at once.
    #[serde(rename = "for", deserialize_with = "duration")]
    pub lasting: Option<Duration>,
    /// Smallest amount that counts.
    pub threshold: Option<i64>,
    pub mute: Vec<Window>,
    /// Names of sinks; all when left out, none when empty.
    pub route: Option<Vec<String>>,
    /// A URL; `{kind}`, `{topic}` and `{group}` are filled in.
    pub runbook: Option<String>,
    pub hold: Option<Hold>,
}

/// How long an event stays open when nobody acknowledges it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    For(Duration),
    UntilAcknowledged,
}

impl<'de> Deserialize<'de> for Hold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "until-acknowledged" => Ok(Hold::UntilAcknowledged),
            text => parse_duration(text)
                .map(Hold::For)
                .map_err(|error| serde::de::Error::custom(format!("{error}, or \"until-acknowledged\""))),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AlertmanagerFile {
    pub name: String,
    /// Where its API is, without `/api/v2/alerts`.
    pub url: String,
    pub username: Option<String>,
    pub password_file: Option<PathBuf>,
    pub bearer_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "duration")]
    pub timeout: Option<Duration>,
    /// How often open incidents are posted again; 1m. Alertmanager takes them for resolved after four times that.
    #[serde(default, deserialize_with = "duration")]
    pub refresh: Option<Duration>,
    /// Whether `SordiniHeartbeat` is kept firing; false, for without a route of its own it would page somebody.
    pub heartbeat: Option<bool>,
    /// Labels put on every alert.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WebhookFile {
    pub name: String,
    pub url: String,
    /// POST, PUT or PATCH.
    pub method: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body, with `{{ field }}` in it; all fields as JSON when left out.
    pub template: Option<String>,
    pub template_file: Option<PathBuf>,
    /// Signs the body.
    pub secret_file: Option<PathBuf>,
    pub username: Option<String>,
    pub password_file: Option<PathBuf>,
    pub bearer_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "duration")]
    pub timeout: Option<Duration>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SlackFile {
    pub name: String,
    /// The incoming webhook; it is a secret, so `url-file` is the better place.
    pub url: Option<String>,
    pub url_file: Option<PathBuf>,
    pub channel: Option<String>,
    pub username: Option<String>,
    #[serde(default, deserialize_with = "duration")]
    pub timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SmtpTls {
    /// From the first byte (port 465).
    Tls,
    #[default]
    Starttls,
    None,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct EmailFile {
    pub name: String,
    pub host: String,
    /// 465 for tls, 587 for starttls, 25 for none.
    pub port: Option<u16>,
    #[serde(default)]
    pub tls: SmtpTls,
    pub from: String,
    #[serde(deserialize_with = "one_or_more")]
    pub to: Vec<String>,
    pub username: Option<String>,
    pub password_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "duration")]
    pub timeout: Option<Duration>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CommandFile {
    pub name: String,
    /// The program and its arguments; no shell.
    pub argv: Vec<String>,
    #[serde(default, deserialize_with = "duration")]
    pub timeout: Option<Duration>,
}

/// A URL that is called as long as sordini observes, for a service that tells when the calls stop.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HeartbeatFile {
    pub url: Option<String>,
    /// GET or POST; POST.
    pub method: Option<String>,
    /// 1m; of Alertmanager's heartbeat as well.
    #[serde(default, deserialize_with = "duration")]
    pub interval: Option<Duration>,
    /// How long nothing may have been observed before the heartbeat stops; 5m.
    #[serde(default, deserialize_with = "duration")]
    pub silent_after: Option<Duration>,
    pub ca_file: Option<PathBuf>,
}

fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a text or a list of texts")
        }

        fn visit_str<E>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(vec![text.to_owned()])
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut texts = Vec::new();
            while let Some(text) = list.next_element()? {
                texts.push(text);
            }
            Ok(texts)
        }
    }
    deserializer.deserialize_any(Visitor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_as_people_write_it() {
        let file: AlertFile = toml::from_str(
            r#"
            group-wait = "5s"
            [[rule]]
            kind = ["lag-*", "sequence-gap"]
            topic = "pay.*"
            for = "2m"
            severity = "critical"
            mute = ["Sat-Sun", "22:00-06:00 +02:00"]
            hold = "until-acknowledged"
            [[alertmanager]]
            name = "ops"
            url = "http://localhost:9093"
            "#,
        )
        .unwrap();
        assert_eq!(file.rules[0].kind, ["lag-*", "sequence-gap"]);
        assert_eq!(file.rules[0].topic, ["pay.*"]);
        assert_eq!(file.rules[0].lasting, Some(Duration::from_secs(120)));
        assert_eq!(file.rules[0].hold, Some(Hold::UntilAcknowledged));
        assert_eq!(file.alertmanager[0].name, "ops");
    }

    #[test]
    fn a_mistake_is_pointed_at() {
        let at = |text: &str| {
            let error = toml::from_str::<AlertFile>(text).unwrap_err();
            (text[..error.span().unwrap().start].matches('\n').count() + 1, error.message().to_owned())
        };
        let (line, what) = at("[[rule]]\nkind = \"lag-*\"\nmute = [\"Caturday\"]\n");
        assert_eq!(line, 3);
        assert!(what.contains("Caturday"), "{what}");
        let (line, what) = at("[[webhook]]\nname = \"x\"\nurl = \"http://x\"\nretires = 3\n");
        assert_eq!(line, 4);
        assert!(what.contains("retires"), "{what}");
    }
}
