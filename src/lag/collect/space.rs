//! What room logs have: how long each topic is meant to keep its records, and how full the volumes are. Only forecasts
//! rest on it, so whoever may not ask (DescribeConfigs on the topic, Describe on the cluster) goes without them.

use std::collections::HashMap;
use std::sync::Arc;

use kafka_protocol::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::describe_log_dirs_request::DescribeLogDirsRequest;
use kafka_protocol::protocol::StrBytes;

use super::brokers::{Broker, Brokers};
use super::names::Names;
use crate::lag::facts::{Space, Volume};

/// Highest versions sordini speaks. From version 4 on DescribeLogDirs tells the size of the volume (KIP-827).
const DESCRIBE_CONFIGS: i16 = 4;
const DESCRIBE_LOG_DIRS: i16 = 4;
/// The resource type of a topic.
const TOPIC: i8 = 2;

pub fn ask(brokers: &mut Brokers, topics: &[Arc<str>], names: &Names) -> Space {
    let volumes = brokers.each(volumes).into_iter().flatten().collect();
    Space { retention_ms: brokers.any(|broker| retention(broker, topics, names)).unwrap_or_default(), volumes }
}

fn retention(broker: &mut Broker, topics: &[Arc<str>], names: &Names) -> Option<HashMap<Arc<str>, i64>> {
    let keys = ["cleanup.policy", "retention.ms"].map(StrBytes::from_static_str);
    let resource = |topic: &Arc<str>| {
        DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(StrBytes::from_string(topic.to_string()))
            .with_configuration_keys(Some(keys.to_vec()))
    };
    let request = DescribeConfigsRequest::default().with_resources(topics.iter().map(resource).collect());
    match broker.call(&request, DESCRIBE_CONFIGS) {
        Ok(answer) => {
            let known = answer.results.iter().filter(|result| result.error_code == 0);
            Some(known.filter_map(|topic| Some((names.get(&topic.resource_name), kept_ms(topic)?))).collect())
        }
        Err(error) => {
            tracing::debug!(%error, "asking for the retention of topics failed");
            None
        }
    }
}

/// How long a topic that deletes by age keeps its records; `None`: for ever, or it does not say.
fn kept_ms(topic: &DescribeConfigsResult) -> Option<i64> {
    let value = |name: &str| topic.configs.iter().find(|config| *config.name == *name)?.value.as_deref();
    let deletes = value("cleanup.policy")?.split(',').any(|policy| policy.trim() == "delete");
    value("retention.ms")?.parse().ok().filter(|&ms: &i64| deletes && ms > 0)
}

fn volumes(broker: &mut Broker) -> Vec<Volume> {
    // No topics: the volumes are of interest, not what lies on them.
    let request = DescribeLogDirsRequest::default().with_topics(Some(Vec::new()));
    match broker.call(&request, DESCRIBE_LOG_DIRS) {
        Ok(answer) => {
            let known = answer.results.iter().filter(|dir| dir.error_code == 0 && dir.total_bytes > 0);
            known
                .filter(|dir| dir.usable_bytes >= 0)
                .map(|dir| Volume {
                    broker: broker.id,
                    path: Arc::from(&*dir.log_dir),
                    total_bytes: dir.total_bytes,
                    usable_bytes: dir.usable_bytes,
                })
                .collect()
        }
        Err(error) => {
            tracing::debug!(broker = broker.id, %error, "asking for the volumes of a broker failed");
            Vec::new()
        }
    }
}
