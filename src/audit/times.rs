//! Timestamps along one partition. Markers are not looked at: they run ahead of the data on every healthy
//! transactional topic.

use serde::{Deserialize, Serialize};

use super::finding::{Finding, Kind, Span};
use super::partition::Place;

/// One stretch of records that lie behind the largest time by more than the bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Episode {
    first_offset: i64,
    last_offset: i64,
    records: u64,
    largest_fall_ms: i64,
    behind: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// Largest create time so far.
    newest: Option<i64>,
    episode: Option<Episode>,
    /// Largest append time so far, and the leader epoch it was stamped under.
    append: Option<(i64, i32)>,
}

impl Times {
    /// Create times of a batch, smallest and largest. `bound_ms` is how far they may fall.
    pub fn created(
        &mut self,
        offsets: Span,
        records: u64,
        (smallest, largest): (i64, i64),
        bound_ms: i64,
        place: &Place<'_>,
        out: &mut Vec<Finding>,
    ) {
        let newest = *self.newest.get_or_insert(largest);
        let fall = newest.saturating_sub(smallest);
        if smallest >= 0 && fall > bound_ms {
            let episode = self.episode.get_or_insert(Episode {
                first_offset: offsets.from,
                last_offset: offsets.from,
                records: 0,
                largest_fall_ms: 0,
                behind: newest,
            });
            episode.last_offset = offsets.until - 1;
            episode.records += records;
            episode.largest_fall_ms = episode.largest_fall_ms.max(fall);
            let finding = episode.finding(place);
            // The same episode again replaces the finding: its id comes from where it began.
            out.push(finding);
        } else {
            self.episode = None;
        }
        self.newest = Some(newest.max(largest));
    }

    /// Append time is the broker's clock: within one leader epoch it never falls.
    pub fn appended(
        &mut self,
        offset: i64,
        time: i64,
        leader_epoch: i32,
        bound_ms: i64,
        place: &Place<'_>,
        out: &mut Vec<Finding>,
    ) {
        if let Some((before, epoch)) = self.append {
            let fall = before.saturating_sub(time);
            let allowed = if epoch == leader_epoch { 0 } else { bound_ms };
            if fall > allowed {
                let why = format!(
                    "the append time falls by {fall} ms at offset {offset} of {place}: the broker's clock was set back"
                );
                let mut finding = place.finding(Kind::TimestampRegression, &[&"append", &offset], why);
                finding.offsets = Some(Span::new(offset, offset + 1));
                finding.cause = Some("append-time".to_owned());
                finding.last_seen = Some(time);
                out.push(finding.evidence("fall_ms", fall));
            }
            self.append = Some((before.max(time), leader_epoch));
        } else {
            self.append = Some((time, leader_epoch));
        }
    }
}

impl Episode {
    fn finding(&self, place: &Place<'_>) -> Finding {
        let why = format!(
            "from offset {} of {place} create times lie up to {} ms behind a record read before",
            self.first_offset, self.largest_fall_ms
        );
        let mut finding = place.finding(Kind::TimestampRegression, &[&"create", &self.first_offset], why);
        finding.offsets = Some(Span::new(self.first_offset, self.last_offset + 1));
        finding.count = self.records;
        finding.cause = Some("create-time".to_owned());
        finding.last_seen = Some(self.behind);
        finding.evidence("fall_ms", self.largest_fall_ms)
    }
}
