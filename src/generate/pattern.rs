//! What the hits of a fault have in common, as the truth tells it.

use serde::{Deserialize, Serialize};

use super::fault::{Attribute, Every, FaultKind, Where};
use super::layout::Layout;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Pattern {
    /// Every n-th number of a counter.
    PeriodicLoss {
        n: u64,
        residue: u64,
        /// All of them, where the count began anew.
        residues: Vec<u64>,
        /// How far hits may lie beside these.
        jitter: u64,
        counter: String,
        /// The share of the n-th numbers that are hit.
        hit_rate: f64,
    },
    /// What has a value of a dimension.
    DimensionalLoss {
        dimension: String,
        value: String,
        /// Where the dimension is a scale: any border in this range tells the hit from the others.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        border: Option<Border>,
        hit_rate: f64,
    },
    /// Copies at fixed delays from when a record came first.
    RetryComb { delays_ms: Vec<u64> },
    /// Runs of lost numbers.
    Burst { length: u64 },
}

/// Bytes, or milliseconds since 1970; both ends count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Border {
    pub least: i64,
    pub most: i64,
}

/// A moment is found to within this share of the time that records span, on either side.
const MOMENT: f64 = 1.0 / 32.0;

impl Pattern {
    pub(super) fn of(kind: &FaultKind, layout: &Layout) -> Option<Self> {
        match kind {
            FaultKind::LoseEvery(every) => {
                let longest = (0..layout.producers as u32).map(|session| layout.count(session)).max();
                Some(Self::periodic(every, "session-number", longest.unwrap_or(0)))
            }
            FaultKind::DropEvery(every) => Some(Self::periodic(every, "transaction-number", layout.records)),
            FaultKind::LoseWhere(tied) | FaultKind::DropWhere(tied) => Some(Self::dimensional(tied, layout)),
            FaultKind::RetryComb(comb) if !comb.has_jitter => {
                Some(Pattern::RetryComb { delays_ms: comb.delays_ms.clone() })
            }
            FaultKind::LoseBurst { length, .. } | FaultKind::HeadLoss(length) | FaultKind::TailLoss(length)
                if *length > 1 =>
            {
                Some(Pattern::Burst { length: *length })
            }
            _ => None,
        }
    }

    fn periodic(every: &Every, counter: &str, until: u64) -> Self {
        Pattern::PeriodicLoss {
            n: every.n,
            residue: every.residue,
            residues: every.residues(until),
            jitter: every.jitter,
            counter: counter.to_owned(),
            hit_rate: every.rate,
        }
    }

    fn dimensional(tied: &Where, layout: &Layout) -> Self {
        let (dimension, value, border) = match tied.attribute {
            Attribute::Producer(producer) => ("session".to_owned(), format!("p{producer}"), None),
            Attribute::Partition(partition) => ("partition".to_owned(), partition.to_string(), None),
            Attribute::KeyClass { modulus, residue } => (format!("key-hash-mod-{modulus}"), residue.to_string(), None),
            Attribute::Larger(size) => {
                let border = layout.sizes().map(|(least, most)| Border { least: least as i64 + 1, most: most as i64 });
                ("size".to_owned(), format!("≥ {size}"), border)
            }
            Attribute::After(share) => {
                let since = layout.timestamp(layout.first_after(share));
                let around = (layout.due_us(layout.records) as f64 / 1e3 * MOMENT) as i64 + 1;
                ("time".to_owned(), since.to_string(), Some(Border { least: since - around, most: since + around }))
            }
        };
        Pattern::DimensionalLoss { dimension, value, border, hit_rate: tied.rate }
    }
}
