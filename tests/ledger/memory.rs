//! Memory is one setting: what a process takes that fills a ledger, measured in a process of its own.

use super::common::{child, directory, number_from, open, settle_new, stretch};

const MEMORY: &str = "SORDINI_TEST_MEMORY";
/// Rows of one stretch, which is one extent.
const STRETCH: u64 = 4000;
const ROWS: u64 = 1500 * STRETCH;
/// Beyond the setting: the program itself (9 MB), sled (17 MB), what sorting, settling and writing borrow, and what the
/// allocator has not given back yet. Huge pages, which the measured process does without, add up to 40 MB more.
const BEYOND: u64 = 56 << 20;

#[test]
#[ignore = "the process that is measured"]
fn fill() {
    let mut ledger = open(&directory(), number_from(MEMORY, 0) as usize, u64::MAX, false);
    let mut settled = 0;
    for from in (0..ROWS).step_by(STRETCH as usize) {
        ledger.insert(&stretch(from..from + STRETCH, (from / STRETCH) as u32)).unwrap();
        // Short runs at first, so that there is something to merge.
        if ledger.is_full() || settled < 9 && ledger.buffered() as u64 >= ROWS / 40 || from + STRETCH == ROWS {
            settle_new(&mut ledger, 0);
            ledger.commit(&[0; 10_000], &[], 0).unwrap();
            settled += 1;
        }
    }
    let stats = ledger.stats();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = peak.trim().trim_end_matches(" kB");
    println!("measured {peak} {} {} {} {}", stats.rows, stats.runs, stats.disk_bytes, stats.resident_bytes);
}

/// Peak of resident memory in bytes, runs, bytes on disk, bytes the runs keep in memory.
fn measure(memory: u64) -> [u64; 4] {
    let dir = tempfile::tempdir().unwrap();
    let mut child = child("memory::fill", dir.path());
    let output = child.env(MEMORY, memory.to_string()).env("MIMALLOC_ALLOW_THP", "0").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let line = said.lines().find_map(|line| line.split_once("measured ")).unwrap_or_else(|| panic!("{said}")).1;
    let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
    assert_eq!(numbers[1], ROWS);
    [numbers[0] * 1024, numbers[2], numbers[3], numbers[4]]
}

#[test]
fn a_ledger_takes_the_memory_it_is_given_and_the_disk_the_format_says() {
    let mut peaks = Vec::new();
    for setting in [12u64 << 20, 96 << 20] {
        let [peak, runs, disk, resident] = measure(setting);
        println!("{setting} bytes set: peak {peak}, {runs} runs, {disk} on disk, {resident} in memory");
        assert!(peak <= setting + BEYOND, "{peak} bytes where {setting} are set");
        // 34 bytes an extent in whole pages; header, directory and footer of every run.
        let extents = 34 * ROWS / STRETCH + 4096 * runs;
        let fixed = (4096 + 257 * 8 + 96) * runs;
        let a_sighting = (disk - 10_000 - extents - fixed) as f64 / ROWS as f64;
        assert!((23.0..=25.5).contains(&a_sighting), "{a_sighting:.3} bytes a sighting on disk");
        let directories = 257 * 8 * runs;
        let filter = resident.saturating_sub(directories + extents) as f64 / ROWS as f64;
        assert!(filter <= 2.15, "{filter:.3} bytes a sighting in memory");
        assert!(resident - directories <= setting / 3 * 2, "{resident} of {setting}");
        // The larger setting holds all of it, the smaller one must leave some out.
        assert_eq!(filter > 2.0, setting > 50 << 20, "{filter:.3} bytes a sighting in memory");
        peaks.push(peak);
    }
    let grown = peaks[1] - peaks[0];
    assert!((16 << 20..64 << 20).contains(&grown), "{grown} bytes more for a buffer 28 MiB larger and a whole filter");
}
