//! Windows judged a second, by both sets of rules, with few and with many commits. Nearly all windows of a real cluster are
//! well, so the mix is mostly that; the dear cases are measured on their own.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sordini::lag::burrow;
use sordini::lag::figure::Unknown;
use sordini::lag::ruleset::Rules;
use sordini::lag::window::{Commit, Mark, Membership, Window};

const NOW_MS: i64 = 1_700_000_000_000;
const STEP_MS: i64 = 5_000;

struct Made {
    commits: Vec<Commit>,
    marks: Vec<Mark>,
}

/// A group that commits every five seconds and leaves so much unread at its commits.
fn made(commits: usize, lag: impl Fn(i64) -> i64) -> Made {
    let count = commits as i64;
    let at = |n: i64| NOW_MS - (count - n) * STEP_MS;
    let commit =
        |n: i64| Commit { offset: 1_000 * n, order: n, timestamp_ms: at(n), lag: Some(lag(n)), by_tool: false };
    let mark = |n: i64| Mark { at_ms: at(n), log_start: 0, stable_end: None, end: 1_000 * n + lag(n) };
    let mut marks: Vec<Mark> = (0..count).map(mark).collect();
    marks.push(Mark { at_ms: NOW_MS, ..mark(count - 1) });
    Made { commits: (0..count).map(commit).collect(), marks }
}

fn window(made: &Made) -> Window<'_> {
    Window {
        now_ms: NOW_MS,
        commits: &made.commits,
        exact_commits: true,
        marks: &made.marks,
        read_committed: false,
        membership: Membership::Stable,
        membership_since_ms: NOW_MS - 3_600_000,
        owned: Some(true),
        unread_since_ms: Err(Unknown::NotYet),
        moved_ms: None,
        sibling_moved_ms: Some(NOW_MS - 1_000),
    }
}

/// Of a hundred windows: sixty have read all, thirty-seven have something unread, three lose ground.
fn mix(commits: usize) -> Vec<Made> {
    let one = |at: i64| match at {
        0..60 => made(commits, |_| 0),
        60..97 => made(commits, |n| 50 + 400 * ((n * 7 + at) % 3)),
        _ => made(commits, |n| 20_000 + 300 * n),
    };
    (0..100).map(one).collect()
}

fn verdicts(criterion: &mut Criterion) {
    let sets = [("default", Rules::default()), ("burrow", Rules::Burrow(burrow::Settings::default()))];
    for (name, rules) in &sets {
        let mut group = criterion.benchmark_group(format!("verdicts/{name}"));
        for commits in [10, 30] {
            let windows = mix(commits);
            group.throughput(Throughput::Elements(windows.len() as u64));
            group.bench_function(format!("{commits} commits, mixed"), |b| {
                b.iter(|| windows.iter().filter(|made| rules.judge(black_box(&window(made))).verdict.is_bad()).count());
            });
            let rising = made(commits, |n| 20_000 + 300 * n);
            group.throughput(Throughput::Elements(1));
            group.bench_function(format!("{commits} commits, losing ground"), |b| {
                b.iter(|| rules.judge(black_box(&window(&rising))));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, verdicts);
criterion_main!(benches);
