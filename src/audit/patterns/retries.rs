//! When identities came again lately, as combs need it: to the millisecond, which the ledger does not keep. A fixed sample of all
//! identities is watched, each from its first arrival until it is pushed out by newer ones.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::combs::{Combs, Delays};

/// One identity in so many is watched; identities are hashes, so this is a fair sample.
const ONE_IN: u128 = 16;
/// Identities watched at a time: the last 262,144 records, about.
const WATCHED: usize = 1 << 14;
/// Arrivals of one identity that are looked at.
const ARRIVALS: usize = 16;

#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Retries {
    combs: Combs,
    /// After a restart only what comes from then on is watched.
    #[serde(skip)]
    recent: FxHashMap<u128, SmallVec<[i64; 2]>>,
    #[serde(skip)]
    order: VecDeque<u128>,
}

impl Retries {
    #[inline]
    pub fn saw(&mut self, identity: u128, at_ms: i64) {
        if identity.is_multiple_of(ONE_IN) {
            self.watch(identity, at_ms);
        }
    }

    fn watch(&mut self, identity: u128, at_ms: i64) {
        self.combs.arrived(1);
        let arrivals = self.recent.entry(identity).or_default();
        if arrivals.is_empty() {
            self.order.push_back(identity);
        }
        if arrivals.len() < ARRIVALS {
            arrivals.push(at_ms);
        }
        if self.order.len() > WATCHED
            && let Some(oldest) = self.order.pop_front()
            && let Some(arrivals) = self.recent.remove(&oldest)
        {
            tell(&mut self.combs, arrivals);
        }
    }

    /// The delays that repeats have in common, those still watched included.
    pub fn report(&self) -> Delays {
        let mut combs = self.combs.clone();
        self.order.iter().filter_map(|identity| self.recent.get(identity)).for_each(|a| tell(&mut combs, a.clone()));
        combs.report()
    }
}

fn tell(combs: &mut Combs, mut arrivals: SmallVec<[i64; 2]>) {
    if arrivals.len() > 1 {
        arrivals.sort_unstable();
        combs.identity(&arrivals);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Identities as hashes are: any number, well spread.
    fn identity(n: u64) -> u128 {
        xxhash_rust::xxh3::xxh3_128(&n.to_le_bytes())
    }

    #[test]
    fn retries_in_step_show_and_copies_at_any_delay_do_not() {
        let (mut in_step, mut at_random) = (Retries::default(), Retries::default());
        let mut records: Vec<(i64, u64)> = (0..200_000u64).map(|n| (n as i64 * 10, n)).collect();
        let mut random = records.clone();
        for n in (0..200_000u64).step_by(20) {
            let first = n as i64 * 10;
            records.extend([1_000, 3_000].map(|delay| (first + delay, n)));
            random.push((first + (xxhash_rust::xxh3::xxh3_64(&n.to_be_bytes()) % 60_000) as i64, n));
        }
        for (records, retries) in [(&mut records, &mut in_step), (&mut random, &mut at_random)] {
            records.sort_unstable();
            records.iter().for_each(|(at_ms, n)| retries.saw(identity(*n), *at_ms));
        }
        let comb = in_step.report().comb.expect("a comb");
        let delays: Vec<i64> = comb.teeth.iter().map(|tooth| tooth.delay_ms).collect();
        assert_eq!(delays, [1_000, 3_000]);
        assert!((comb.share_of_traffic - 2.0 / 22.0).abs() < 0.02, "{}", comb.share_of_traffic);
        assert_eq!(at_random.report().comb, None);
        assert!(in_step.recent.len() <= WATCHED && in_step.order.len() <= WATCHED);
    }
}
