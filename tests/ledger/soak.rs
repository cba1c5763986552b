//! A ledger at full speed for as long as it is told to, for `scripts/soak`.

use std::time::{Duration, Instant};

use super::common::{directory, number_from, open, settle, settle_new, stretch};

const STRETCH: u64 = 4000;
/// Rows of one second of stream time; so many that a horizon of them is soon full.
const A_SECOND: u64 = 25 * STRETCH;
/// Rows of one commit: a generation of the default horizon gets enough runs to be merged, twice.
const A_COMMIT: usize = 500_000;

#[test]
#[ignore = "the process that scripts/soak watches"]
fn run() {
    let horizon = number_from("SORDINI_SOAK_HORIZON", 640);
    let until = Instant::now() + Duration::from_secs(number_from("SORDINI_SOAK_SECONDS", 60));
    let mut ledger = open(&directory(), number_from("SORDINI_SOAK_MEMORY", 96 << 20) as usize, horizon, true);
    let (mut next, mut commits, mut said) = (0, 0u64, Instant::now());
    while Instant::now() < until {
        let second = (next / A_SECOND) as u32;
        ledger.insert(&stretch(next..next + STRETCH, second)).unwrap();
        next += STRETCH;
        if !ledger.is_full() && ledger.buffered() < A_COMMIT {
            continue;
        }
        settle_new(&mut ledger, second);
        commits += 1;
        ledger.commit(&[commits as u8; 100_000], &[(u128::from(commits % 100), vec![1; 300])], second).unwrap();
        if commits.is_multiple_of(8) {
            replay(&mut ledger, next);
        }
        if said.elapsed() >= Duration::from_secs(1) {
            let stats = ledger.stats();
            println!("soak {next} {} {} {} {}", stats.rows, stats.runs, stats.disk_bytes, stats.resident_bytes);
            said = Instant::now();
        }
    }
}

/// What came last comes again, moved: every one of them is a repeat, and nothing is kept.
fn replay(ledger: &mut sordini::ledger::Ledger, next: u64) {
    let mut again = stretch(next - 5 * STRETCH..next, (next / A_SECOND) as u32);
    again.offsets.iter_mut().for_each(|offset| *offset += 1 << 40);
    ledger.insert(&again).unwrap();
    let mut repeats = 0;
    let settled = settle(ledger, (next / A_SECOND) as u32, &mut |repeat| {
        repeats += (repeat.again.offset - repeat.first.offset) >> 40
    });
    assert_eq!((settled.fresh, repeats), (0, 5 * STRETCH as i64));
}
