//! dbg
use super::super::simulate::*;
use super::*;
#[test]
fn dbg() {
    let mut wrong = std::collections::BTreeMap::new();
    for seed in 0..500 {
        let mut rng = rng(seed);
        let j = judge(
            &Counter::new(TRIALS).every(&mut rng, 100, 7, 0.1, 0).noise(&mut rng, |_| 0.01).segments(),
            &Settings::default(),
        );
        *wrong.entry(j.periods.iter().map(|p| (p.n, p.burst_like)).collect::<Vec<_>>()).or_insert(0) += 1;
    }
    println!("{wrong:?}");
    let show = |name: &str, c: Counter| {
        let t = std::time::Instant::now();
        let j = judge(&c.segments(), &Settings::default());
        println!(
            "{name} {:?}\n   {:?}\n   {:?}",
            t.elapsed(),
            j.periods
                .iter()
                .map(|p| (
                    p.n,
                    p.residue,
                    p.width,
                    p.unit,
                    p.hits,
                    p.eligible,
                    p.ln_p as i64,
                    p.exact,
                    p.burst_like,
                    p.phases.len(),
                    p.share
                ))
                .collect::<Vec<_>>(),
            j.limits
        );
    };
    let mut r = rng(7);
    let r = &mut r;
    show("blocks50", Counter::new(TRIALS).blocks(500, 30, 50).noise(r, |_| 0.01));
    show("blocks50 pure", Counter::new(TRIALS).blocks(500, 30, 50));
    show("blocks80 pure", Counter::new(TRIALS).blocks(500, 30, 80));
    show("all", Counter::new(TRIALS).blocks(20000, 0, 19999));
    show("98%", Counter::new(TRIALS).noise(r, |_| 0.98));
    show("two", Counter::new(TRIALS).every(r, 15000, 0, 1.0, 0));
    show("none", Counter::new(TRIALS));
    show("four", Counter::new(TRIALS).every(r, 5000, 17, 1.0, 0));
    show("ten", Counter::new(10).every(r, 2, 0, 1.0, 0));
    show("empty", Counter::new(0));
    show("hundred", Counter::new(100).every(r, 4, 0, 1.0, 0));
    show("robin", Counter::new(TRIALS).every(r, 4, 1, 1.0, 0));
    show("robin half", Counter::new(TRIALS).noise(r, |_| 0.01).stretches(r, 1, 10000..10001, 4));
    show("robin short", Counter::new(TRIALS).noise(r, |_| 0.01).stretches(r, 1, 1000..1001, 4));
    show("40 restarts", Counter::new(TRIALS).every(r, 100, 7, 1.0, 0).noise(r, |_| 0.01).restarts(r, 40));
    show(
        "7 11 13",
        Counter::new(TRIALS).every(r, 7, 1, 1.0, 0).every(r, 11, 1, 1.0, 0).every(r, 13, 1, 0.5, 0).noise(r, |_| 0.01),
    );
    show("40k", Counter::new(2_000_000).every(r, 100, 7, 1.0, 0).noise(r, |_| 0.01));
    show("40k null", Counter::new(2_000_000).noise(r, |_| 0.02));
    show("40k bursty", Counter::new(2_000_000).bursts(r, 0.02, 5.0, 1.0));
    show("3000 restarts", Counter::new(2_000_000).noise(r, |_| 0.02).restarts(r, 3000));
    show("60 restarts", Counter::new(2_000_000).noise(r, |_| 0.02).restarts(r, 60));
    show("jitter 20", Counter::new(200_000).every(r, 100, 7, 1.0, 20).noise(r, |_| 0.01));
    show(
        "onset",
        Counter::new(TRIALS).noise(r, |x| if x > 0.5 { 0.01 } else { 0.0 }).stretches(r, 1, 9999..10000, 100),
    );
}
