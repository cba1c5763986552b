//! Every metric there is: name, type, unit, labels and help, in this one place. `docs/metrics.md` is written from it, and
//! a value can only be printed through it.
//!
//! The rule for sordini's own names: `sordini_` + whom it is about + what + unit. Units are base units (seconds, bytes,
//! offsets, records) and come last; what only ever grows is a counter and ends in `_total`; a moment is
//! `_timestamp_seconds`; a plural noun without a unit counts things. Labels are singular nouns.

/// Whose name it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    Own,
    /// Names every client library uses for the process.
    Process,
    /// kafka_exporter.
    KafkaExporter,
    /// kafka-lag-exporter.
    LagExporter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gauge,
    Counter,
    /// Always 1; the labels are what it says.
    Info,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Info => "info",
        }
    }
}

#[derive(Debug)]
pub struct Family {
    /// As it stands on a sample's line: with `_total` and `_info`.
    pub name: &'static str,
    pub set: Set,
    pub kind: Kind,
    pub unit: &'static str,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

impl Family {
    /// OpenMetrics names a family without the suffix that its type implies.
    pub fn base(&self) -> &'static str {
        let suffix = match self.kind {
            Kind::Gauge => "",
            Kind::Counter => "_total",
            Kind::Info => "_info",
        };
        self.name.strip_suffix(suffix).unwrap_or(self.name)
    }
}

macro_rules! families {
    ($($id:ident: $set:ident $kind:ident $name:literal $unit:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub static $id: Family = Family {
            name: $name,
            set: Set::$set,
            kind: Kind::$kind,
            unit: $unit,
            labels: &[$($label),*],
            help: $help,
        };)*
        /// In the order of the document.
        pub static ALL: &[&Family] = &[$(&$id),*];
    };
}

families! {
    // About groups.
    GROUP_VERDICT: Own Gauge "sordini_group_verdict" "" ["group", "verdict"]
        "1 for the verdict the group has now; the other verdicts of the group have no series";
    GROUP_INFO: Own Info "sordini_group_info" "" ["group", "protocol", "state"]
        "Protocol and state of the group, under Kafka's names";
    GROUP_MEMBERS: Own Gauge "sordini_group_members" "" ["group"] "Members of the group";
    GROUP_LAG: Own Gauge "sordini_group_lag_offsets" "offsets" ["group"]
        "Offsets the group is behind, summed over its known partitions";
    GROUP_LAG_RECORDS: Own Gauge "sordini_group_lag_records" "records" ["group"]
        "Records the group really has left to read: no markers, no holes";
    GROUP_LAG_MAX: Own Gauge "sordini_group_lag_max_offsets" "offsets" ["group"]
        "Offsets behind on the partition that is furthest behind";
    GROUP_LAG_SECONDS: Own Gauge "sordini_group_lag_max_seconds" "seconds" ["group"]
        "Age of the oldest record that the group has not read";
    GROUP_EVALUATED: Own Gauge "sordini_group_evaluated_partitions" "" ["group"]
        "Partitions of the group that have a verdict other than unknown";
    GROUP_EXPECTED: Own Gauge "sordini_group_expected_partitions" "" ["group"]
        "Partitions on which the group has a commit or a member";
    GROUP_LOST: Own Counter "sordini_group_lost_offsets_total" "offsets" ["group"]
        "Offsets that retention deleted before the group read them, since sordini began to look";

    GROUP_FORECAST: Own Gauge "sordini_group_forecast_timestamp_seconds" "seconds" ["group", "what"]
        "When the group catches up (catches-up) or retention overtakes it (retention-overtakes), since 1970; never has no series";

    // About a group on a partition.
    PARTITION_VERDICT: Own Gauge "sordini_group_partition_verdict" "" ["group", "topic", "partition", "verdict"]
        "1 for the verdict of the group on the partition; a partition that is ok has no series";
    PARTITION_COMMITTED: Own Gauge "sordini_group_partition_committed_offset" "offset" ["group", "topic", "partition"]
        "Next offset the group will read";
    PARTITION_LAG: Own Gauge "sordini_group_partition_lag_offsets" "offsets" ["group", "topic", "partition"]
        "Offsets from the commit, or the log start if that is later, to the end the group reads to";
    PARTITION_LAG_RECORDS: Own Gauge "sordini_group_partition_lag_records" "records" ["group", "topic", "partition"]
        "Records really left to read; only on topics that sordini reads itself";
    PARTITION_LAG_SECONDS: Own Gauge "sordini_group_partition_lag_seconds" "seconds" ["group", "topic", "partition"]
        "Age of the next unread record; 0 when nothing is unread";
    PARTITION_LAG_LEAST: Own Gauge "sordini_group_partition_lag_least_seconds" "seconds"
        ["group", "topic", "partition"]
        "Lower bound of the age of the next unread record; only where that is estimated";
    PARTITION_LAG_MOST: Own Gauge "sordini_group_partition_lag_most_seconds" "seconds" ["group", "topic", "partition"]
        "Upper bound of the age of the next unread record; only where that is estimated";
    PARTITION_LOST: Own Counter "sordini_group_partition_lost_offsets_total" "offsets" ["group", "topic", "partition"]
        "Offsets that retention deleted before the group read them; only where there are any";
    PARTITION_OWNER: Own Info "sordini_group_partition_owner_info" ""
        ["group", "topic", "partition", "client_id", "host"]
        "The member that reads the partition; join it to other series by group, topic and partition";

    // About a partition, whoever reads it.
    LOG_START: Own Gauge "sordini_partition_start_offset" "offset" ["topic", "partition"] "First offset of the log";
    LOG_STABLE: Own Gauge "sordini_partition_stable_end_offset" "offset" ["topic", "partition"]
        "Last stable offset: readers of committed records get no further";
    LOG_END: Own Gauge "sordini_partition_end_offset" "offset" ["topic", "partition"] "High watermark";
    LOG_HANGING: Own Gauge "sordini_partition_hanging_transaction" "" ["topic", "partition"]
        "1 while the last stable offset stands still below the end for too long; otherwise no series";

    LOG_FORECAST: Own Gauge "sordini_partition_forecast_timestamp_seconds" "seconds" ["topic", "partition", "what"]
        "When the log covers less than retention.ms (retention-fills), since 1970; never has no series";

    // About the volumes that logs lie on; where the broker may be asked (Describe on the cluster).
    VOLUME_SIZE: Own Gauge "sordini_volume_size_bytes" "bytes" ["broker", "path"] "Size of the volume";
    VOLUME_USABLE: Own Gauge "sordini_volume_usable_bytes" "bytes" ["broker", "path"] "Bytes that are left on the volume";
    VOLUME_FORECAST: Own Gauge "sordini_volume_forecast_timestamp_seconds" "seconds" ["broker", "path", "what"]
        "When the volume is full (volume-fills), since 1970; never has no series";

    // About the rounds that ask the cluster.
    CLUSTER_INFO: Own Info "sordini_cluster_info" "" ["cluster"] "Name of the cluster that is looked at";
    ROUNDS: Own Counter "sordini_lag_rounds_total" "" [] "Rounds of asking the cluster that came to an end";
    ROUND_SECONDS: Own Gauge "sordini_lag_round_seconds" "seconds" [] "How long the last round took";
    ROUND_REQUESTS: Own Gauge "sordini_lag_round_requests" "" [] "Requests of the last round";
    ROUND_END: Own Gauge "sordini_lag_round_timestamp_seconds" "seconds" [] "When the last round ended, since 1970";
    ROUND_EVALUATED: Own Gauge "sordini_lag_evaluated_partitions" "" []
        "Group-partitions the last round came to a verdict about";
    ROUND_EXPECTED: Own Gauge "sordini_lag_expected_partitions" "" [] "Group-partitions there are to judge";
    ROUND_TROUBLES: Own Gauge "sordini_lag_troubles" "" [] "Brokers and coordinators the last round could not ask";

    // About audits.
    AUDIT_VERDICT: Own Gauge "sordini_audit_verdict" "" ["audit", "verdict"]
        "1 for the verdict the audit has now; the other verdicts have no series";
    AUDIT_RUNNING: Own Gauge "sordini_audit_running" "" ["audit"] "1 while the audit runs, 0 while something stops it";
    AUDIT_RESTARTS: Own Counter "sordini_audit_restarts_total" "" ["audit"] "Times the audit was started again after trouble";
    AUDIT_REPORT: Own Gauge "sordini_audit_report_timestamp_seconds" "seconds" ["audit"]
        "When the figures of the audit were made, since 1970";
    AUDIT_BEHIND: Own Gauge "sordini_audit_behind_offsets" "offsets" ["audit"]
        "Offsets between what the audit has read and the ends of its topics";
    AUDIT_READ: Own Counter "sordini_audit_records_total" "records" ["audit"] "Records the audit has observed";
    AUDIT_BYTES: Own Counter "sordini_audit_read_bytes_total" "bytes" ["audit"] "Bytes of the batches the audit has read";
    AUDIT_LOST: Own Gauge "sordini_audit_lost_records" "records" ["audit"]
        "Records proven lost; falls when they arrive late";
    AUDIT_DUPLICATED: Own Gauge "sordini_audit_duplicated_records" "records" ["audit"] "Arrivals beyond the first";
    AUDIT_CONFLICTING: Own Gauge "sordini_audit_conflicting_records" "records" ["audit"]
        "Arrivals whose identity was known with other contents";
    AUDIT_REORDERED: Own Gauge "sordini_audit_reordered_records" "records" ["audit"]
        "Records that arrived after later ones (RFC 4737)";
    AUDIT_LATE: Own Gauge "sordini_audit_late_records" "records" ["audit"] "Records that arrived after the waiting time";
    AUDIT_UNIDENTIFIED: Own Gauge "sordini_audit_unidentified_records" "records" ["audit"]
        "Records the identify rule does not fit";
    AUDIT_UNEXPLAINED: Own Gauge "sordini_audit_unexplained_offsets" "offsets" ["audit"]
        "Offsets missing without an explanation";
    TOPIC_RECORDS: Own Gauge "sordini_audit_topic_records" "records" ["audit", "topic"]
        "Records observed in the range that was read of the topic";
    TOPIC_HOLES: Own Gauge "sordini_audit_topic_hole_offsets" "offsets" ["audit", "topic", "reason"]
        "Offsets of the range read that hold no record, by the reason; reasons that do not occur have no series";
    FINDINGS: Own Gauge "sordini_audit_findings" "" ["audit", "topic", "kind", "grade", "state"]
        "Findings by kind, grade (proven, possible, unknown) and state (open, resolved); what was never found has no series";
    FINDING_RECORDS: Own Gauge "sordini_audit_finding_records" "records" ["audit", "topic", "kind", "grade", "state"]
        "Records the findings speak of";

    // About flows.
    FLOW_OPEN: Own Gauge "sordini_flow_open_transactions" "" ["flow"] "Transactions that wait for a stage";
    FLOW_MATCHED: Own Counter "sordini_flow_matched_transactions_total" "" ["flow", "stage"]
        "Transactions that came from the stage before to this one";
    FLOW_MISSING: Own Gauge "sordini_flow_missing_transactions" "" ["flow", "stage"]
        "Transactions that did not come to this stage in time; falls when they come late";
    FLOW_LATE: Own Counter "sordini_flow_late_transactions_total" "" ["flow", "stage"]
        "Transactions that came after the deadline";
    FLOW_MISMATCHED: Own Counter "sordini_flow_mismatched_transactions_total" "" ["flow", "stage"]
        "Transactions that say something else here than at the stage before";
    FLOW_UNEXPECTED: Own Counter "sordini_flow_unexpected_transactions_total" "" ["flow", "stage"]
        "Transactions that the stage before never saw";
    FLOW_UNCOVERED: Own Counter "sordini_flow_uncovered_transactions_total" "" ["flow", "stage"]
        "Transactions of which nothing can be said: the other side was not read, or given up";
    FLOW_LATENCY: Own Gauge "sordini_flow_latency_seconds" "seconds" ["flow", "stage", "percentile"]
        "Time of the record here less that at the stage before, over everything that was read";
    FLOW_BURN: Own Gauge "sordini_flow_burn_rate" "" ["flow", "stage", "window"]
        "How many times faster than its objective allows the hop uses up its error budget, over 5m, 30m, 1h and 6h";

    // About pairs of stores.
    DRIFT_VERDICT: Own Gauge "sordini_drift_verdict" "" ["pair", "verdict"]
        "1 for the verdict of the pair's last report; the other verdicts have no series";
    DRIFT_RUNNING: Own Gauge "sordini_drift_running" "" ["pair"] "1 while the pair is compared, 0 while something keeps it from that";
    DRIFT_KEYS: Own Gauge "sordini_drift_keys" "" ["pair", "age"]
        "Keys on which the stores differ now and have for at least so long: 0s, 10s, 1m, 10m, 1h, 1d; those not confirmed yet included";
    DRIFT_SUSPECTS: Own Gauge "sordini_drift_suspect_keys" "" ["pair"] "Keys that look wrong and are not confirmed yet";
    DRIFT_WAITING: Own Gauge "sordini_drift_waiting_keys" "" ["pair"] "Keys with records that the group has not passed yet";
    DRIFT_FINDINGS: Own Gauge "sordini_drift_findings" "" ["pair", "kind", "grade", "state"]
        "Findings by kind, grade and state (open, resolved lately); what was never found has no series";
    DRIFT_UNVERIFIABLE: Own Gauge "sordini_drift_unverifiable_keys" "" ["pair", "reason"]
        "Keys of which nothing can be said, by the reason; reasons that do not occur have no series";
    DRIFT_LAWS: Own Gauge "sordini_drift_law_imbalances" "" ["pair", "law"]
        "Groups whose sum is not conserved, by the law as it is written; a law that cannot be judged has no series";
    DRIFT_FIRST: Own Gauge "sordini_drift_first_keys" "" ["pair"] "Keys (of a mirror: records) in the first store when it was last compared in full";
    DRIFT_SECOND: Own Gauge "sordini_drift_second_rows" "" ["pair"] "Rows (of a mirror: records) in the second store when it was last compared in full";
    DRIFT_COMPARED: Own Gauge "sordini_drift_compared_timestamp_seconds" "seconds" ["pair"]
        "When anything of the pair was last compared, since 1970";
    DRIFT_COMPARISON: Own Gauge "sordini_drift_comparison_timestamp_seconds" "seconds" ["pair"]
        "When a part of the buckets was last compared in full, since 1970";
    DRIFT_SECONDS: Own Gauge "sordini_drift_comparison_seconds" "seconds" ["pair"] "How long that took";
    DRIFT_COMPARISONS: Own Counter "sordini_drift_comparisons_total" "" ["pair"] "Parts of the buckets that were compared in full";
    DRIFT_CHECKED: Own Counter "sordini_drift_checked_keys_total" "" ["pair"] "Looks at single keys";
    DRIFT_HEALED: Own Counter "sordini_drift_healed_findings_total" "" ["pair"] "Findings that were resolved because the stores agree again";
    DRIFT_TOPIC_BYTES: Own Counter "sordini_drift_topic_bytes_total" "bytes" ["pair"] "Bytes of batches that were read of topics";
    DRIFT_TABLE_BYTES: Own Counter "sordini_drift_table_bytes_total" "bytes" ["pair"] "Bytes that came from databases";

    // About alerts.
    INCIDENTS: Own Gauge "sordini_incidents" "" ["severity", "state"]
        "Incidents by state: pending, open, acknowledged, muted or resolved (lately)";
    SINK_DELIVERIES: Own Counter "sordini_sink_deliveries_total" "" ["sink", "kind"] "Messages the sink took";
    SINK_FAILURES: Own Counter "sordini_sink_failures_total" "" ["sink", "kind"] "Attempts the sink did not take";
    SINK_WAITING: Own Gauge "sordini_sink_waiting_messages" "" ["sink", "kind"] "Messages that wait for the sink";
    SINK_SUCCESS: Own Gauge "sordini_sink_success_timestamp_seconds" "seconds" ["sink", "kind"]
        "When the sink last took a message, since 1970";

    // About sordini itself.
    BUILD: Own Info "sordini_build_info" "" ["version"] "The running version";
    PART_PULSE: Own Gauge "sordini_part_pulse_timestamp_seconds" "seconds" ["part"]
        "When a part of sordini last did something, since 1970";
    PART_SILENCE: Own Gauge "sordini_part_allowed_silence_seconds" "seconds" ["part"]
        "How long the part may be silent before it counts as dead";
    PART_READY: Own Gauge "sordini_part_ready" "" ["part"] "1 when the part has worked at least once";
    RENDERED: Own Gauge "sordini_metrics_timestamp_seconds" "seconds" [] "When these metrics were written, since 1970";
    STARTED: Process Gauge "process_start_time_seconds" "seconds" [] "When the process started, since 1970";
    RESIDENT: Process Gauge "process_resident_memory_bytes" "bytes" [] "Memory of the process that is in RAM";

    // Family E.
    E_LAG: KafkaExporter Gauge "kafka_consumergroup_lag" "" ["consumergroup", "topic", "partition"]
        "Offsets the group is behind on the partition";
    E_LAG_SUM: KafkaExporter Gauge "kafka_consumergroup_lag_sum" "" ["consumergroup", "topic"]
        "Offsets the group is behind on the topic, over its known partitions";
    E_OFFSET: KafkaExporter Gauge "kafka_consumergroup_current_offset" "" ["consumergroup", "topic", "partition"]
        "Offset the group has committed";
    E_OFFSET_SUM: KafkaExporter Gauge "kafka_consumergroup_current_offset_sum" "" ["consumergroup", "topic"]
        "Sum of the offsets the group has committed on the topic";
    E_MEMBERS: KafkaExporter Gauge "kafka_consumergroup_members" "" ["consumergroup"] "Members of the group";
    E_PARTITIONS: KafkaExporter Gauge "kafka_topic_partitions" "" ["topic"] "Partitions of the topic";
    E_END: KafkaExporter Gauge "kafka_topic_partition_current_offset" "" ["topic", "partition"]
        "High watermark of the partition";
    E_START: KafkaExporter Gauge "kafka_topic_partition_oldest_offset" "" ["topic", "partition"]
        "First offset of the partition";

    // Family L.
    L_LAG: LagExporter Gauge "kafka_consumergroup_group_lag" "" ["cluster_name", "group", "topic", "partition"]
        "Offsets the group is behind on the partition";
    L_LAG_SECONDS: LagExporter Gauge "kafka_consumergroup_group_lag_seconds" ""
        ["cluster_name", "group", "topic", "partition"]
        "Age of the next unread record";
    L_OFFSET: LagExporter Gauge "kafka_consumergroup_group_offset" "" ["cluster_name", "group", "topic", "partition"]
        "Offset the group has committed";
    L_MAX_LAG: LagExporter Gauge "kafka_consumergroup_group_max_lag" "" ["cluster_name", "group"]
        "Offsets behind on the partition that is furthest behind";
    L_MAX_SECONDS: LagExporter Gauge "kafka_consumergroup_group_max_lag_seconds" "" ["cluster_name", "group"]
        "Age of the oldest record that the group has not read";
    L_SUM_LAG: LagExporter Gauge "kafka_consumergroup_group_sum_lag" "" ["cluster_name", "group"]
        "Offsets the group is behind, over its known partitions";
    L_TOPIC_SUM: LagExporter Gauge "kafka_consumergroup_group_topic_sum_lag" "" ["cluster_name", "group", "topic"]
        "Offsets the group is behind on the topic, over its known partitions";
    L_END: LagExporter Gauge "kafka_partition_latest_offset" "" ["cluster_name", "topic", "partition"]
        "High watermark of the partition";
    L_START: LagExporter Gauge "kafka_partition_earliest_offset" "" ["cluster_name", "topic", "partition"]
        "First offset of the partition";
}
