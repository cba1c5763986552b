//! Patterns that were planted against what is missing in the lines.

use xxhash_rust::xxh3::xxh3_64;

use super::*;
use crate::generate::pattern::Pattern;

/// Numbers without their ends: what a fault may take, and those that are gone.
fn lost(bytes: &[u8]) -> BTreeMap<String, Vec<u64>> {
    let mut seen: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for record in read(bytes) {
        seen.entry(record.session).or_default().extend(record.number);
    }
    let gaps = |numbers: BTreeSet<u64>| {
        (0..*numbers.last().unwrap()).filter(|number| !numbers.contains(number)).collect::<Vec<u64>>()
    };
    seen.into_iter().map(|(session, numbers)| (session, gaps(numbers))).collect()
}

#[test]
fn every_nth_keeps_to_its_residue_jitter_rate_and_restarts() {
    for (spec, residues, hits) in [
        ("lose-every=100", vec![99], 190..=200),
        ("lose-every=100:residue=7", vec![7], 190..=200),
        ("lose-every=100:residue=7:jitter=1", vec![6, 7, 8], 190..=200),
        ("lose-every=100:rate=30%", vec![99], 30..=90),
        // From 2530 on the count is 30 ahead of the numbers.
        ("lose-every=100:residue=7:restart=2530", vec![7, 37], 200..=204),
    ] {
        let options = options(20_000, &[spec]);
        let truth = check(&options);
        let lost: Vec<u64> = lost(&write(&options).1).into_values().flatten().collect();
        assert!(hits.contains(&lost.len()), "{spec}: {}", lost.len());
        let found: BTreeSet<u64> = lost.iter().map(|number| number % 100).collect();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), residues, "{spec}");
        let Some(Pattern::PeriodicLoss { n: 100, residues: told, jitter, .. }) = &truth.faults[0].pattern else {
            panic!("{:?}", truth.faults[0].pattern)
        };
        assert!(residues.iter().all(|r| told.iter().any(|t| t.abs_diff(*r) <= *jitter)), "{spec}: {told:?}");
    }
}

#[test]
fn losses_tied_to_an_attribute_are_all_on_it() {
    let plain = read(&write(&options(8_000, &[])).1);
    let first = plain.iter().map(|record| record.ts).min().unwrap();
    let last = plain.iter().filter(|record| record.number.is_some()).map(|record| record.ts).max().unwrap();
    type Has = Box<dyn Fn(&Read) -> bool>;
    let worlds: [(&str, Has); 4] = [
        ("lose-where=producer:p2@20%", Box::new(|record| record.session == "p2")),
        ("lose-where=partition:1@20%", Box::new(|record| record.at.partition == 1)),
        ("lose-where=key-class:8:3@40%", Box::new(|r| u64::from(xxh3_64(r.content.0.as_bytes()) as u32) % 8 == 3)),
        ("lose-where=after:60%@20%", Box::new(move |r| (r.ts - first) as f64 >= 0.6 * (last - first) as f64 - 1.0)),
    ];
    for (spec, has) in worlds {
        let options = options(8_000, &[spec]);
        let truth = check(&options);
        assert!(truth.faults[0].count > 200, "{spec}: {}", truth.faults[0].count);
        let left: HashSet<String> = read(&write(&options).1).into_iter().map(|record| record.id).collect();
        let gone: Vec<&Read> = plain.iter().filter(|record| !left.contains(&record.id)).collect();
        assert_eq!(gone.len() as u64, truth.faults[0].count, "{spec}");
        assert!(gone.iter().all(|record| has(record)), "{spec}");
    }
    let larger = read(&write(&options(8_000, &["lose-where=larger:1KiB"])).1);
    let large = |record: &&Read| record.content.1.as_ref().is_some_and(|value| value.len() >= 1024);
    // Only at the sessions' ends, where nothing is lost.
    assert!(larger.iter().filter(large).count() <= 4 * 6);
    let spared = read(&write(&options(8_000, &["lose-where=larger:1KiB@1%"])).1);
    assert!((600..1_000).contains(&spared.iter().filter(large).count()));
}

#[test]
fn retries_come_at_their_delays_unless_they_jitter() {
    for (spec, is_exact) in [("retry-comb=1%:1s,2500ms", true), ("retry-comb=1%:1s,2500ms:jitter", false)] {
        let options = options(8_000, &[spec]);
        let truth = check(&options);
        assert!((70..=80).contains(&truth.faults[0].count), "{}", truth.faults[0].count);
        let mut times: HashMap<String, Vec<i64>> = HashMap::new();
        for record in read(&write(&options).1) {
            times.entry(record.id).or_default().push(record.ts);
        }
        let delays: BTreeSet<[i64; 2]> = times
            .values()
            .filter(|times| times.len() > 1)
            .map(|times| match times[..] {
                [first, second, third] => [second - first, third - first],
                _ => panic!("{times:?}"),
            })
            .collect();
        match is_exact {
            // To the millisecond that times are cut to.
            true => {
                assert!(delays.iter().flatten().zip([1_000, 2_500].iter().cycle()).all(|(d, e)| (d - e).abs() <= 1))
            }
            false => assert!(delays.len() > 60, "{delays:?}"),
        }
        assert_eq!(truth.faults[0].pattern.is_some(), is_exact);
    }
}

#[test]
fn an_attribute_that_nothing_can_have_is_refused() {
    for spec in ["lose-where=producer:p4", "lose-where=partition:4", "lose-where=larger:100"] {
        let error = Plan::new(&options(99, &[spec]), NOW_MS).map(|_| ()).unwrap_err();
        assert!(matches!(error, OptionsError::Attribute { .. }), "{spec}: {error}");
    }
    let two = options(99, &["lose-where=larger:1KiB", "lose-where=larger:2KiB"]);
    assert!(matches!(Plan::new(&two, NOW_MS), Err(OptionsError::Attribute { .. })));
}
