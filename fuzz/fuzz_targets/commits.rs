//! Any bytes as records and markers of `__consumer_offsets`: nothing panics, nothing is allocated by a length that was
//! not checked, and what comes of them keeps its bounds and its order.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sordini::lag::commits::fuzzing::check(bytes));
