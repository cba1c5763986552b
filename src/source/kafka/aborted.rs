//! Which batches of one answer belong to aborted transactions, decided as Kafka's own consumer does.

use std::collections::HashSet;

use crate::wire::{BatchHeader, Marker};

/// A producer's aborted transaction, from its first offset to its abort marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
}

pub struct Aborted {
    /// By first offset, last first: the broker lists them by their markers.
    ahead: Vec<AbortedTransaction>,
    open: HashSet<i64>,
}

impl Aborted {
    pub fn new(mut listed: Vec<AbortedTransaction>) -> Self {
        listed.sort_by_key(|aborted| std::cmp::Reverse(aborted.first_offset));
        Self { ahead: listed, open: HashSet::new() }
    }

    /// Whether the batch's records were aborted. Batches come in the order of the log; `marker` is what a control
    /// batch says.
    pub fn is_aborted(&mut self, header: &BatchHeader, marker: Option<Marker>) -> bool {
        while let Some(next) = self.ahead.last().filter(|next| next.first_offset < header.until()) {
            self.open.insert(next.producer_id);
            self.ahead.pop();
        }
        if header.is_control() {
            if marker == Some(Marker::Abort) {
                self.open.remove(&header.producer_id);
            }
            return false;
        }
        header.is_transactional() && self.open.contains(&header.producer_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(producer_id: i64, base_offset: i64, attributes: i16) -> BatchHeader {
        BatchHeader {
            base_offset,
            leader_epoch: 0,
            crc: 0,
            attributes,
            last_offset_delta: 0,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id,
            producer_epoch: 0,
            base_sequence: 0,
            records_count: 1,
        }
    }

    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x30;

    proptest! {
        /// A log of transactions by a few producers, read from any offset on: what the markers say is the truth.
        #[test]
        fn agrees_with_the_markers(steps in prop::collection::vec((0i64..4, 0u8..4), 1..80), from in 0usize..80) {
            let mut log: Vec<BatchHeader> = Vec::new();
            let mut markers: Vec<Option<Marker>> = Vec::new();
            let mut aborted: Vec<bool> = Vec::new();
            let mut open: std::collections::HashMap<i64, Vec<usize>> = Default::default();
            let mut listed: Vec<(AbortedTransaction, i64)> = Vec::new();
            for (producer, step) in steps {
                let offset = log.len() as i64;
                match (step, open.remove(&producer)) {
                    (0 | 1, transaction) => {
                        let mut transaction = transaction.unwrap_or_default();
                        transaction.push(log.len());
                        open.insert(producer, transaction);
                        log.push(header(producer, offset, TRANSACTIONAL));
                        markers.push(None);
                        aborted.push(false);
                    }
                    (step, Some(transaction)) => {
                        if step == 2 {
                            let first_offset = transaction[0] as i64;
                            listed.push((AbortedTransaction { producer_id: producer, first_offset }, offset));
                            transaction.iter().for_each(|&i| aborted[i] = true);
                        }
                        log.push(header(producer, offset, CONTROL));
                        markers.push(Some(if step == 2 { Marker::Abort } else { Marker::Commit }));
                        aborted.push(false);
                    }
                    (_, None) => {}
                }
            }
            // Nothing at or above the first open transaction is handed out.
            let stable = open.values().map(|t| t[0]).min().unwrap_or(log.len());
            let from = from.min(stable);
            let overlapping = listed.iter().filter(|(_, marker)| *marker >= from as i64).map(|(a, _)| *a).collect();
            let mut filter = Aborted::new(overlapping);
            for i in from..stable {
                prop_assert_eq!(filter.is_aborted(&log[i], markers[i]), aborted[i], "offset {}", i);
            }
        }
    }
}
