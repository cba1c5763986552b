//! A made-up partition and its consumer, second by second, and the windows a watcher would have of them.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::lag::figure::Unknown;
use crate::lag::window::{Commit, Mark, Membership, Window};

/// Commits a watcher keeps.
const COMMITS: usize = 24;
/// Marks it keeps before it thins them.
const MARKS: usize = 48;

#[derive(Clone, Copy, Debug)]
pub enum Producer {
    /// Records a second, about.
    Steady(i64),
    /// Busy and idle for so many seconds by turns.
    Phases { rate: i64, busy_s: i64, idle_s: i64 },
    /// A record every so many seconds.
    Sparse(i64),
    /// Now and then three times the rate, for up to a minute.
    Bursts(i64),
}

/// Seconds between two bursts at least: what the longest one leaves is worked off by then.
const REST_S: i64 = 60;

#[derive(Clone, Copy, Debug)]
pub enum Consumer {
    /// Reads up to so many records a second and commits every so many; when idle it repeats its commit or not.
    Running { capacity: i64, commit_s: i64, repeats: bool },
    /// Reads all there is every so many seconds and commits once.
    Batch { every_s: i64 },
}

/// What happens to the consumer, from a second on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    Leaves,
    Hangs,
    StopsCommitting,
    Rebalances,
    Returns,
    Rewinds(i64),
    Slows(i64),
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub producer: Producer,
    pub consumer: Consumer,
    pub is_transactional: bool,
    pub is_exact: bool,
    /// Whether the age of the next unread record is known.
    pub knows_times: bool,
    /// Commit times and watcher's clock differ by so much.
    pub skew_ms: i64,
    pub look_s: i64,
    pub seconds: i64,
    pub events: Vec<(i64, Event)>,
    pub seed: u64,
}

pub struct World {
    plan: Plan,
    rng: StdRng,
    second: i64,
    /// End of the log after each second.
    ends: Vec<i64>,
    position: i64,
    committed: i64,
    is_there: bool,
    hangs: bool,
    commits_now: bool,
    capacity: i64,
    next_batch_s: i64,
    burst_until: i64,
    membership: (Membership, i64),
    commits: Vec<Commit>,
    marks: Vec<Mark>,
    moved_ms: i64,
}

const START_MS: i64 = 1_700_000_000_000;

pub fn at_ms(second: i64) -> i64 {
    START_MS + second * 1000
}

impl World {
    pub fn new(plan: Plan) -> Self {
        let capacity = match plan.consumer {
            Consumer::Running { capacity, .. } => capacity,
            Consumer::Batch { .. } => i64::MAX / 2,
        };
        let mut world = Self {
            rng: StdRng::seed_from_u64(plan.seed),
            plan,
            second: 0,
            ends: vec![0],
            position: 0,
            committed: 0,
            is_there: true,
            hangs: false,
            commits_now: true,
            capacity,
            next_batch_s: 1,
            burst_until: 0,
            membership: (Membership::Stable, at_ms(0)),
            commits: Vec::new(),
            marks: Vec::new(),
            moved_ms: at_ms(0),
        };
        world.commit();
        world
    }

    /// A second of everybody; gives whether the watcher looked.
    pub fn step(&mut self) -> Option<i64> {
        self.second += 1;
        if self.second > self.plan.seconds {
            return None;
        }
        for (at, event) in self.plan.events.clone() {
            if at == self.second {
                self.happens(event);
            }
        }
        self.produce();
        self.consume();
        if self.second % self.plan.look_s == 0 {
            self.look();
        }
        Some(self.second)
    }

    pub fn looked(&self) -> bool {
        self.second % self.plan.look_s == 0
    }

    fn happens(&mut self, event: Event) {
        let now = at_ms(self.second);
        match event {
            Event::Leaves => (self.is_there, self.membership) = (false, (Membership::Empty, now)),
            Event::Hangs => self.hangs = true,
            Event::StopsCommitting => self.commits_now = false,
            Event::Rebalances => (self.is_there, self.membership) = (false, (Membership::Rebalancing, now)),
            Event::Slows(capacity) => self.capacity = capacity,
            Event::Returns => {
                (self.is_there, self.hangs, self.commits_now) = (true, false, true);
                self.membership = (Membership::Stable, now);
                self.position = self.committed;
            }
            Event::Rewinds(by) => {
                self.position = (self.committed - by).max(0);
                self.commit();
            }
        }
    }

    fn produce(&mut self) {
        let noisy = |rng: &mut StdRng, rate: i64| rng.random_range(0..=2 * rate);
        let records = match self.plan.producer {
            Producer::Steady(rate) => noisy(&mut self.rng, rate),
            Producer::Phases { rate, busy_s, idle_s } => {
                if self.second % (busy_s + idle_s) < busy_s {
                    noisy(&mut self.rng, rate)
                } else {
                    0
                }
            }
            Producer::Sparse(every_s) => i64::from(self.rng.random_ratio(1, every_s as u32)),
            Producer::Bursts(rate) => {
                // One that begins while another lasts would make it longer than a consumer can bear.
                let has_rested = self.second >= self.burst_until + REST_S;
                if has_rested && self.rng.random_ratio(1, 600) {
                    self.burst_until = self.second + self.rng.random_range(5..60);
                }
                noisy(&mut self.rng, if self.second < self.burst_until { 3 * rate } else { rate })
            }
        };
        let marker = i64::from(self.plan.is_transactional && records > 0);
        self.ends.push(self.end() + records + marker);
    }

    fn end(&self) -> i64 {
        self.ends[self.ends.len() - 1]
    }

    /// Up to where there are records: the marker at the very end is none.
    fn readable(&self) -> i64 {
        self.end() - i64::from(self.plan.is_transactional && self.end() > 0)
    }

    fn consume(&mut self) {
        if !self.is_there {
            return;
        }
        let readable = self.readable();
        match self.plan.consumer {
            Consumer::Running { commit_s, repeats, .. } => {
                if !self.hangs {
                    self.position = readable.min(self.position + self.capacity).max(self.position);
                }
                let has_moved = self.position != self.committed;
                if self.second % commit_s == 0 && self.commits_now && (has_moved || repeats) {
                    self.commit();
                }
            }
            Consumer::Batch { every_s } => {
                if self.second >= self.next_batch_s && !self.hangs {
                    // Now and then it takes a little longer.
                    self.next_batch_s = self.second + every_s + self.rng.random_range(0..=every_s / 10);
                    self.position = self.position.max(readable);
                    if self.position != self.committed && self.commits_now {
                        self.commit();
                    }
                }
            }
        }
    }

    fn commit(&mut self) {
        let now = at_ms(self.second);
        self.committed = self.position;
        if self.plan.is_exact {
            self.keep(now + self.plan.skew_ms);
        }
    }

    fn keep(&mut self, timestamp_ms: i64) {
        let lag = Some((self.end() - self.committed).max(0));
        let commit = Commit { offset: self.committed, order: self.second, timestamp_ms, lag, by_tool: false };
        if self.commits.last().is_none_or(|last| last.offset < commit.offset) {
            self.moved_ms = timestamp_ms;
        }
        self.commits.push(commit);
        if self.commits.len() > COMMITS {
            self.commits.remove(0);
        }
    }

    fn look(&mut self) {
        let now = at_ms(self.second);
        if !self.plan.is_exact && self.commits.last().is_none_or(|last| last.offset != self.committed) {
            self.keep(now);
        }
        let end = self.end();
        let mark = Mark { at_ms: now, log_start: 0, stable_end: Some(end), end };
        if let [.., before, last] = &mut self.marks[..]
            && before.end == end
            && last.end == end
        {
            last.at_ms = now;
            return;
        }
        self.marks.push(mark);
        if self.marks.len() > MARKS {
            let mut number = 0;
            self.marks.retain(|_| {
                number += 1;
                number > MARKS / 2 || number % 2 == 1
            });
        }
    }

    pub fn window(&self) -> Window<'_> {
        let now_ms = at_ms(self.second);
        let unread_since_ms = if !self.plan.knows_times {
            Err(Unknown::NotYet)
        } else if self.committed >= self.readable() {
            Ok(now_ms)
        } else {
            let markers = i64::from(self.plan.is_transactional);
            let written = self.ends.partition_point(|end| *end - markers <= self.committed);
            Ok(at_ms(written as i64).min(now_ms - 1))
        };
        Window {
            now_ms,
            commits: &self.commits,
            exact_commits: self.plan.is_exact,
            marks: &self.marks,
            read_committed: false,
            membership: self.membership.0,
            membership_since_ms: self.membership.1,
            owned: (self.membership.0 == Membership::Stable).then_some(true),
            unread_since_ms,
            moved_ms: Some(self.moved_ms),
            sibling_moved_ms: None,
        }
    }
}
