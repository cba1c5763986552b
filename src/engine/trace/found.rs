//! The sightings of one identity, as the ledger keeps them and its journal lists them.

use std::collections::BTreeSet;

use super::super::auditor::damage_finding;
use super::super::partitions::States;
use super::super::state::State;
use super::sought::rules_of;
use super::{Arrival, Found, Hash, Standing};
use crate::audit::duplicates::{Case, Names};
use crate::audit::finding::Rung;
use crate::ledger::{Ledger, LedgerError, Seen};

/// What the ledger keeps, and what its journal lists of the identity's other arrivals.
pub(super) fn found(identity: Hash, ledger: &Ledger, state: &State, case: Option<&Case>) -> Result<Found, LedgerError> {
    let looked_up = ledger.look_up(identity.0)?;
    let names = States(&state.partitions);
    let (listed, counted) = case.map(Case::arrivals).unwrap_or_default();
    let mut known = BTreeSet::new();
    let mut arrivals = Vec::new();
    let by_standing =
        [(Standing::Kept, looked_up.kept), (Standing::Repeat, listed), (Standing::Buffered, looked_up.buffered)];
    let mut unsettled = 0;
    for (standing, seen) in
        by_standing.into_iter().flat_map(|(standing, all)| all.into_iter().map(move |s| (standing, s)))
    {
        if known.insert((seen.partition, seen.offset)) {
            unsettled += u64::from(standing == Standing::Buffered);
            arrivals.push(arrival(standing, &seen, &names));
        }
    }
    arrivals
        .sort_by(|a, b| (a.second, &a.topic, a.partition, a.offset).cmp(&(b.second, &b.topic, b.partition, b.offset)));
    let counted = (counted + unsettled).max(arrivals.len() as u64);
    let damage = looked_up.damage.iter().map(|damage| damage_finding(damage).why).collect();
    let rung = rules_of(&state.rules).map_or(Rung::Id, |rules| rules.rung());
    let findings = case.map(|case| case.findings(identity.0, rung, &names)).unwrap_or_default();
    Ok(Found { identity, arrivals, counted, damage, findings })
}

fn arrival(state: Standing, seen: &Seen, names: &States<'_>) -> Arrival {
    let (topic, partition) = names.name(seen.partition);
    Arrival {
        topic: topic.to_owned(),
        partition,
        offset: seen.offset,
        second: seen.second,
        checksum: Hash(seen.checksum.into()),
        producer: (seen.producer.id >= 0).then_some((seen.producer.id, seen.producer.epoch)),
        state,
    }
}
