//! When something counts as trouble. All defaults lean to the side of letting people sleep; what is lost is always said.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Settings of the default rules, `[lag.thresholds]` in the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Thresholds {
    /// Offsets behind that are never trouble.
    pub allowed_lag: i64,
    /// Records may wait this long before a group that does not catch up is warned about.
    #[serde(with = "text")]
    pub max_time_lag: Duration,
    /// Shortest time without a commit, with something to read, that is called a stop.
    #[serde(with = "text")]
    pub silent_after: Duration,
    /// Shortest time at one offset, with something to read, that is called a stall or a stuck partition.
    #[serde(with = "text")]
    pub stall_after: Duration,
    /// How many times longer than usual a silence or a standstill must be. Usual is what nine of ten pauses stay under.
    pub cadence_factor: f64,
    /// How long records may wait while no member is there to read them.
    #[serde(with = "text")]
    pub no_owner_after: Duration,
    /// How long a rebalance may take before the group is judged as if there was none.
    #[serde(with = "text")]
    pub rebalance_within: Duration,
    /// How far behind, in time, a group must be before a rising lag is warned about.
    #[serde(with = "text")]
    pub rising_after: Duration,
    /// Least rise of the lag over the window, as a share of what was written meanwhile.
    pub rising_share: f64,
    /// A step back that the group makes good within this time is no rewind.
    #[serde(with = "text")]
    pub rewind_grace: Duration,
    /// No consumer reads more offsets of one partition per second; a commit that does has skipped.
    pub fastest_reader: i64,
    /// How long a skip stays the verdict of a partition.
    #[serde(with = "text")]
    pub skip_shown: Duration,
    /// How long the last stable offset may stand still below the end. Brokers end a transaction after at most 15 minutes
    /// unless they were told otherwise.
    #[serde(with = "text")]
    pub hanging_after: Duration,
    /// So many changes of the membership within `flapping_within` are flapping.
    pub flapping_changes: usize,
    #[serde(with = "text")]
    pub flapping_within: Duration,
}

impl Default for Thresholds {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Self {
            allowed_lag: 0,
            max_time_lag: minutes(15),
            silent_after: minutes(2),
            stall_after: minutes(2),
            cadence_factor: 2.0,
            no_owner_after: minutes(1),
            rebalance_within: minutes(1),
            rising_after: minutes(1),
            rising_share: 0.02,
            rewind_grace: Duration::from_secs(30),
            fastest_reader: 5_000_000,
            skip_shown: minutes(60),
            hanging_after: minutes(15),
            flapping_changes: 5,
            flapping_within: minutes(10),
        }
    }
}

/// Milliseconds of a threshold, as times are counted here.
pub fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Times as people write them: `90s`, `5m`, `1h 30m`.
mod text {
    use super::*;

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text)
            .map_err(|error| D::Error::custom(format!("{error}; write it as in 500ms, 30s, 5m or 7d")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_written_as_they_are_read() {
        let read: Thresholds = toml::from_str("allowed-lag = 5\nsilent-after = \"90s\"\n").unwrap();
        assert_eq!((read.allowed_lag, read.silent_after), (5, Duration::from_secs(90)));
        let written = toml::to_string(&read).unwrap();
        assert_eq!(toml::from_str::<Thresholds>(&written).unwrap(), read);
        assert!(toml::from_str::<Thresholds>("alowed-lag = 5").is_err());
        let error = toml::from_str::<Thresholds>("silent-after = \"soon\"").unwrap_err();
        assert!(error.to_string().contains("write it as in"), "{error}");
    }
}
