//! kill -9 at random instants: a child writes and merges as fast as it can, its parent kills it, looks at what is left,
//! and starts it again on the same ledger.
//!
//! `SORDINI_KILLS` (200) and `SORDINI_SEED` can be set in the environment. `scripts/power-loss` uses `child` and
//! `verify` too.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sordini::ledger::Ledger;

use super::common::{child as spawn, directory, identity, number_from, open, settle_new, stretch};

/// Sightings of one commit, settled in two parts.
const ROWS: u64 = 300;
const KEYS: u64 = 5;

fn state(rounds: u64) -> Vec<u8> {
    [&rounds.to_le_bytes()[..], &[rounds as u8; 3000]].concat()
}

fn entry(round: u64) -> (u128, Vec<u8>) {
    (u128::from(round % KEYS), [&round.to_le_bytes()[..], &[round as u8; 200]].concat())
}

/// How many rounds the state says were committed.
fn rounds_of(ledger: &Ledger) -> u64 {
    ledger.state().map_or(0, |state| u64::from_le_bytes(*state.first_chunk().unwrap()))
}

fn round(ledger: &mut Ledger, round: u64) {
    let first = round * ROWS;
    for numbers in [first..first + ROWS / 2, first + ROWS / 2..first + ROWS] {
        ledger.insert(&stretch(numbers, round as u32)).unwrap();
        settle_new(ledger, 0);
    }
    ledger.commit(&state(round + 1), &[entry(round)], 0).unwrap();
}

#[test]
#[ignore = "the process that is killed"]
fn child() {
    let mut ledger = open(&directory(), 1 << 20, u64::MAX, true);
    let mut stdout = std::io::stdout();
    for number in rounds_of(&ledger).. {
        round(&mut ledger, number);
        // One write, so that it is there whole or not at all.
        stdout.write_all(format!("acknowledged {}\n", number + 1).as_bytes()).unwrap();
    }
}

#[test]
#[ignore = "looks at what a power loss left, for scripts/power-loss"]
fn verify() {
    let acknowledged = number_from("SORDINI_ACKNOWLEDGED", 0);
    println!("holds {}", check(&directory(), acknowledged, &mut StdRng::seed_from_u64(acknowledged)));
}

/// Asserts that the ledger holds exactly one commit, not an older one than `acknowledged`; its number.
fn check(dir: &Path, acknowledged: u64, random: &mut StdRng) -> u64 {
    let ledger = open(dir, 1 << 20, u64::MAX, false);
    let rounds = rounds_of(&ledger);
    assert!(rounds >= acknowledged, "{rounds} commits where {acknowledged} were acknowledged");
    assert_eq!(ledger.state().map(<[u8]>::to_vec), (rounds > 0).then(|| state(rounds)));
    assert_eq!(ledger.stats().rows, rounds * ROWS);
    let newest = |key: u64| (0..rounds).rev().take(KEYS as usize).find(|round| round % KEYS == key).map(entry);
    let entries: Vec<_> = ledger.entries().unwrap().map(Result::unwrap).collect();
    assert_eq!(entries, (0..KEYS).filter_map(newest).collect::<Vec<_>>());
    let rows = rounds * ROWS;
    let anywhere = (0..200).map(|_| random.random_range(0..rows.max(1)));
    for number in (rows.saturating_sub(2 * ROWS)..rows + 2 * ROWS).chain(anywhere) {
        let found = ledger.find(identity(number)).unwrap().map(|seen| (seen.offset, seen.second, seen.checksum));
        let kept = (number as i64, (number / ROWS) as u32, number.wrapping_mul(7));
        assert_eq!(found, (number < rows).then_some(kept), "{number} of {rows}");
    }
    assert_eq!(ledger.damage().count(), 0);
    rounds
}

#[test]
fn killed_at_any_instant_the_ledger_holds_what_was_acknowledged() {
    let seed = number_from("SORDINI_SEED", 7);
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut unheard) = (0, 0);
    let kills = number_from("SORDINI_KILLS", 200);
    for kill in 0..kills {
        let mut process = spawn("kill::child", dir.path()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(random.random_range(0..120_000)));
        process.kill().unwrap();
        let output = process.wait_with_output().unwrap();
        assert!(output.status.code().is_none(), "it ended by itself, seed {seed}, kill {kill}");
        let said = String::from_utf8(output.stdout).unwrap();
        let last = said.lines().filter_map(|line| line.split_once("acknowledged ")).next_back();
        acknowledged = last.map_or(acknowledged, |(_, number)| number.parse().unwrap());
        let rounds = check(dir.path(), acknowledged, &mut random);
        assert!(rounds <= acknowledged + 1, "{rounds} commits, {acknowledged} acknowledged, seed {seed}, kill {kill}");
        unheard += rounds - acknowledged;
        acknowledged = rounds;
    }
    println!("{kills} kills, {acknowledged} commits, {unheard} of them not acknowledged before the kill");
    assert!(acknowledged > kills, "only {acknowledged} commits");
}
