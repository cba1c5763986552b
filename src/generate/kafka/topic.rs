//! Sees to it that the topic is there with enough partitions.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{GenerateError, Settings, kafka};

const PATIENCE: Duration = Duration::from_secs(15);

/// Creates the topic, unless it is there or creating is not wanted, and refuses one with too few partitions.
/// Creating comes first: asking for an absent topic could create it with the broker's defaults.
pub(super) fn prepare(topic: &str, partitions: i32, settings: &Settings) -> Result<(), GenerateError> {
    let mut config = ClientConfig::new();
    config.extend(settings.properties.clone());
    let admin: AdminClient<DefaultClientContext> =
        config.create().map_err(kafka("cannot set up a client", "check the -X properties"))?;
    let is_new = settings.create_topic && create(&admin, topic, partitions, settings)?;
    let give_up = Instant::now() + PATIENCE;
    loop {
        let found = led_partitions(&admin, topic)?;
        if found >= partitions.unsigned_abs() as usize {
            return Ok(());
        }
        // A new topic's partitions get their leaders a moment later.
        if Instant::now() >= give_up || (!is_new && found > 0) {
            return Err(GenerateError::TooFewPartitions { topic: topic.to_owned(), found, wanted: partitions });
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Whether the topic was created now; false when it was there.
fn create(
    admin: &AdminClient<DefaultClientContext>,
    topic: &str,
    partitions: i32,
    settings: &Settings,
) -> Result<bool, GenerateError> {
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(settings.replication));
    new.config = settings.topic_config.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
    let failed =
        |source| kafka(&format!("cannot create topic {topic}"), "create it yourself, or check the rights")(source);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let results = runtime.block_on(admin.create_topics([&new], &options)).map_err(failed)?;
    match results.into_iter().next() {
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(false),
        Some(Err((_, code))) => Err(failed(KafkaError::AdminOp(code))),
        Some(Ok(_)) | None => Ok(true),
    }
}

fn led_partitions(admin: &AdminClient<DefaultClientContext>, topic: &str) -> Result<usize, GenerateError> {
    let metadata = admin
        .inner()
        .fetch_metadata(Some(topic), PATIENCE)
        .map_err(kafka(&format!("cannot ask for topic {topic}"), "check the brokers and the -X properties"))?;
    let partitions =
        metadata.topics().iter().filter(|found| found.name() == topic).flat_map(|found| found.partitions());
    Ok(partitions.filter(|partition| partition.leader() >= 0).count())
}
