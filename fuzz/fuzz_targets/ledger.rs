//! Any bytes as a run file of the ledger, and sound runs with any bits flipped: nothing panics, nothing is allocated by
//! a length that was not checked, and no answer is wrong.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sordini::ledger::fuzzing::check(bytes));
