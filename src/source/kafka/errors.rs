//! Kafka's error codes, and what a person should do about them.

use kafka_protocol::ResponseError;

/// Whether a text made of `KafkaError::advice` speaks of a missing permission.
pub fn is_denial(text: &str) -> bool {
    text.contains("AUTHORIZATION_FAILED")
}

/// A code of <https://kafka.apache.org/protocol#protocol_error_codes>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KafkaError(pub i16);

impl KafkaError {
    pub const OFFSET_OUT_OF_RANGE: Self = Self(1);
    pub const UNKNOWN_TOPIC: Self = Self(3);
    pub const LEADER_NOT_AVAILABLE: Self = Self(5);
    pub const UNSUPPORTED_SASL_MECHANISM: Self = Self(33);
    pub const ILLEGAL_SASL_STATE: Self = Self(34);
    pub const UNKNOWN_TOPIC_ID: Self = Self(100);
    pub const INCONSISTENT_TOPIC_ID: Self = Self(103);

    /// `None` for 0, no error.
    pub fn from_code(code: i16) -> Option<Self> {
        (code != 0).then_some(Self(code))
    }

    /// Whether asking again, of whoever leads then, can help.
    pub fn is_transient(self) -> bool {
        // UNKNOWN_SERVER_ERROR, LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER, REQUEST_TIMED_OUT, BROKER_NOT_AVAILABLE,
        // REPLICA_NOT_AVAILABLE, NETWORK_EXCEPTION, KAFKA_STORAGE_ERROR, FETCH_SESSION_ID_NOT_FOUND,
        // INVALID_FETCH_SESSION_EPOCH, LISTENER_NOT_FOUND, FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH,
        // OFFSET_NOT_AVAILABLE, THROTTLING_QUOTA_EXCEEDED.
        matches!(self.0, -1 | 5 | 6 | 7 | 8 | 9 | 13 | 56 | 70 | 71 | 72 | 74 | 75 | 78 | 89)
    }

    /// Name, meaning and what to do, in one clause.
    pub fn advice(self) -> String {
        let text = match self.0 {
            -1 => "UNKNOWN_SERVER_ERROR: the broker failed; look at its log",
            1 => "OFFSET_OUT_OF_RANGE: the offset is not in the log",
            2 => "CORRUPT_MESSAGE: the broker itself finds the stored batch damaged; look at its log and disk",
            3 => "UNKNOWN_TOPIC_OR_PARTITION: no such topic, or this user may not describe it",
            5 => "LEADER_NOT_AVAILABLE: the partition has no leader; bring its brokers back",
            6 => "NOT_LEADER_OR_FOLLOWER: the leader keeps moving; look at the brokers",
            29 => "TOPIC_AUTHORIZATION_FAILED: this user may not read the topic; grant READ and DESCRIBE on it",
            30 => "GROUP_AUTHORIZATION_FAILED: this user may not use the group; grant READ on it",
            31 => "CLUSTER_AUTHORIZATION_FAILED: this user lacks a permission on the cluster",
            35 => "UNSUPPORTED_VERSION: the broker is too old for this request",
            56 => "KAFKA_STORAGE_ERROR: the broker cannot read its disk",
            58 => "SASL_AUTHENTICATION_FAILED: wrong user or password",
            72 => "LISTENER_NOT_FOUND: the leader has no listener of this name; check advertised.listeners",
            74 | 75 => "the leader epoch keeps changing; look at the brokers",
            78 => "OFFSET_NOT_AVAILABLE: a new leader does not know yet how far its log is replicated",
            100 => "UNKNOWN_TOPIC_ID: the topic was deleted or made anew",
            103 => "INCONSISTENT_TOPIC_ID: the topic was made anew",
            code => match ResponseError::try_from_code(code) {
                Some(known) => return format!("the broker answered with error {code}: {known}"),
                None => "no error",
            },
        };
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_is_told_from_a_broker_in_trouble() {
        let denials = (-1..=120).filter(|&code| is_denial(&KafkaError(code).advice()));
        assert_eq!(denials.collect::<Vec<_>>(), [29, 30, 31]);
    }
}
