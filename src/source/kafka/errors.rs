//! Kafka's error codes, and what a person should do about them.

/// A code of <https://kafka.apache.org/protocol#protocol_error_codes>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KafkaError(pub i16);

impl KafkaError {
    pub const OFFSET_OUT_OF_RANGE: Self = Self(1);
    pub const CORRUPT_MESSAGE: Self = Self(2);
    pub const UNKNOWN_TOPIC: Self = Self(3);
    pub const TOPIC_AUTHORIZATION_FAILED: Self = Self(29);
    pub const UNSUPPORTED_SASL_MECHANISM: Self = Self(33);
    pub const SASL_AUTHENTICATION_FAILED: Self = Self(58);
    pub const UNKNOWN_TOPIC_ID: Self = Self(100);
    pub const INCONSISTENT_TOPIC_ID: Self = Self(103);

    /// `None` for 0, no error.
    pub fn from_code(code: i16) -> Option<Self> {
        (code != 0).then_some(Self(code))
    }

    /// Whether asking again, of whoever leads then, can help.
    pub fn is_transient(self) -> bool {
        // LEADER_NOT_AVAILABLE, NOT_LEADER, REQUEST_TIMED_OUT, REPLICA_NOT_AVAILABLE, NETWORK_EXCEPTION,
        // COORDINATOR_LOAD, KAFKA_STORAGE_ERROR, LISTENER_NOT_FOUND, FENCED and UNKNOWN_LEADER_EPOCH,
        // OFFSET_NOT_AVAILABLE, UNSTABLE_OFFSET_COMMIT, THROTTLING_QUOTA_EXCEEDED.
        matches!(self.0, 5 | 6 | 7 | 9 | 13 | 14 | 56 | 72 | 74 | 75 | 78 | 88 | 89)
    }

    /// Name, meaning and what to do, in one clause.
    pub fn advice(self) -> String {
        let text = match self.0 {
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
            100 => "UNKNOWN_TOPIC_ID: the topic was deleted or made anew",
            code => return format!("the broker answered with error code {code}"),
        };
        text.to_owned()
    }
}
