//! `docs/metrics.md`, written from the table.

use super::table::{self, Family, Kind, Set};

pub fn markdown() -> String {
    let mut out = "\
# Metrics

Written from the table in `src/serve/metrics/table.rs`; `SORDINI_UPDATE=1 cargo test metrics_document` writes it anew.

`/metrics` answers in OpenMetrics 1.0 when the scraper asks for it and in the Prometheus text format 0.0.4 otherwise. It is
written in the background whenever something changes, never during a scrape.

**Unknown is no series.** A figure that is not known has no sample: no 0, no −1, no NaN. Ask with `absent()` or compare
`sordini_group_evaluated_partitions` with `sordini_group_expected_partitions`. With `sentinels = true`,
`kafka_consumergroup_lag` and `kafka_consumergroup_current_offset` are −1 where a group never committed, as in
kafka_exporter; sums leave such partitions out.

**The rule for names**: `sordini_` + whom it is about + what + unit. Units are base units (seconds, bytes, offsets,
records) and come last; what only ever grows is a counter and ends in `_total`; a moment is `_timestamp_seconds`; a
position in a log is `_offset`; a plural noun without a unit counts things. Labels are singular nouns. Who owns a partition stands
only on `sordini_group_partition_owner_info`, so that a rebalance does not start all other series anew.

**Verdicts** are series of 1: `sordini_group_verdict{group=\"g\",verdict=\"stop\"} 1`. Only the verdict that holds has a
series; alert with `sordini_group_verdict{verdict!~\"ok|unknown\"}`.
"
    .to_owned();
    let sections = [
        (Set::Own, "sordini"),
        (Set::Process, "Process"),
        (Set::KafkaExporter, "`compat = [\"kafka_exporter\"]`"),
        (Set::LagExporter, "`compat = [\"lag_exporter\"]`"),
    ];
    for (set, title) in sections {
        out +=
            &format!("\n## {title}\n\n| metric | type | unit | labels | meaning |\n| --- | --- | --- | --- | --- |\n");
        for family in table::ALL.iter().filter(|family| family.set == set) {
            out += &row(family);
        }
    }
    out
}

fn row(family: &Family) -> String {
    let kind = match family.kind {
        Kind::Info => "info (always 1)",
        kind => kind.name(),
    };
    let labels = family.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
    format!("| `{}` | {kind} | {} | {labels} | {} |\n", family.name, family.unit, family.help)
}
