//! The connection: what librdkafka says about itself, kept so that a failure can be explained, and a deadline, because
//! librdkafka by itself would try to connect for ever.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

use crate::source::SourceError;

pub type Client = BaseConsumer<Context>;

/// How long brokers may take to answer before the source gives up.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Remembers the last thing that went wrong.
#[derive(Default)]
pub struct Context {
    trouble: Mutex<Trouble>,
}

#[derive(Clone, Default)]
struct Trouble {
    why: String,
    is_authentication: bool,
}

impl Context {
    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if matches!(level, RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug) {
            tracing::debug!(target: "librdkafka", facility, "{line}");
        } else {
            tracing::warn!(target: "librdkafka", facility, "{line}");
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(target: "librdkafka", %error, "{reason}");
        let code = error.rdkafka_error_code();
        // That all are down follows from what happened to each, and says less.
        if code != Some(RDKafkaErrorCode::AllBrokersDown) {
            let is_authentication = matches!(code, Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL));
            *self.trouble() = Trouble { why: reason.to_owned(), is_authentication };
        }
    }
}

impl ConsumerContext for Context {}

/// Makes a client; nothing is connected yet.
pub fn create(config: &ClientConfig) -> Result<Client, SourceError> {
    config.create_with_context(Context::default()).map_err(|error| match error {
        KafkaError::ClientConfig(_, why, name, _) => SourceError::Setting { name, why: why + BUILD_HINT },
        error => SourceError::Setting { name: "of librdkafka".to_owned(), why: format!("{error}{BUILD_HINT}") },
    })
}

const BUILD_HINT: &str =
    " (TLS through librdkafka needs sordini built with the feature librdkafka-tls, Kerberos with kerberos)";

/// Metadata of one topic or of all, or why no broker gave any.
pub fn metadata(client: &Client, topic: Option<&str>, patience: Duration) -> Result<Metadata, SourceError> {
    let deadline = Instant::now() + patience;
    loop {
        let answer = client.fetch_metadata(topic, Duration::from_secs(1));
        // Serves the callbacks, so that errors met meanwhile are known (a poll that does not wait at all serves none);
        // nothing is assigned yet, so no message is lost.
        while client.poll(Duration::from_millis(10)).is_some() {}
        let error = match answer {
            Ok(metadata) => return Ok(metadata),
            Err(error) => error,
        };
        let Trouble { why, is_authentication } = client.context().trouble().clone();
        if !is_authentication && Instant::now() < deadline {
            continue;
        }
        let what = "cannot reach the brokers through librdkafka".to_owned();
        return Err(if is_authentication {
            let hint = "check security.protocol, sasl.mechanism, user, password and certificates".to_owned();
            SourceError::Authenticate { what, why, hint }
        } else {
            let why = if why.is_empty() { error.to_string() } else { why };
            let hint = format!(
                "gave up after {} s: check the addresses given with -b, that the brokers run, and security.protocol",
                patience.as_secs()
            );
            SourceError::Connect { what, why, hint }
        });
    }
}
