//! What one scan looks at: losses and eligible numbers of each segment, tallied by residue for any period.
//!
//! Nothing here costs a step per eligible number. A stretch of numbers covers every residue ⌊L/m⌋ or ⌈L/m⌉ times, and
//! so does an arithmetic progression on the residues it meets.

use super::super::losses::span;

/// Runs from here on are ranges in a table of differences; shorter ones are counted number by number, which is cheaper.
const RANGE: u64 = 3;

/// Two progressions of which fewer than one number in this many of the sparser are in both have none in common.
const MOST_SPARSE: u64 = 1 << 16;

/// Numbers congruent to `residue` modulo `step`, counted `sign` times.
#[derive(Clone, Copy)]
struct Progression {
    step: u64,
    residue: u64,
    sign: i64,
}

/// Lost numbers as 31-bit offsets, so that their residues take two multiplications and no division.
struct Block {
    base: i64,
    offsets: Vec<u32>,
}

/// One segment of a counter.
#[derive(Default)]
pub struct Group {
    /// Its index among the segments.
    pub segment: usize,
    /// Eligible numbers, half-open, in order.
    pub stretches: Vec<(i64, i64)>,
    /// What is no longer eligible of them because a period explains it, by inclusion and exclusion.
    taken: Vec<Progression>,
    /// Lost numbers, half-open, in order.
    pub runs: Vec<(i64, i64)>,
    points: Vec<Block>,
    ranges: Vec<(i64, i64)>,
}

/// The numbers of one segment whose residue modulo `n` is `residue` or one of the `width − 1` after it, cyclically.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    pub n: u64,
    pub residue: u64,
    pub width: u64,
}

impl Class {
    pub fn contains(&self, number: i64) -> bool {
        (residue(number, self.n) + self.n - self.residue) % self.n < self.width
    }

    /// The first number of the class at or after `from`; none where numbers end.
    pub fn next(&self, from: i64) -> Option<i64> {
        if self.contains(from) {
            return Some(from);
        }
        from.checked_add_unsigned((self.residue + self.n - residue(from, self.n)) % self.n)
    }
}

impl Group {
    pub fn new(segment: usize, stretches: Vec<(i64, i64)>, runs: Vec<(i64, i64)>) -> Self {
        let mut group = Self { segment, stretches, ..Self::default() };
        group.set_runs(runs);
        group
    }

    fn set_runs(&mut self, runs: Vec<(i64, i64)>) {
        (self.points, self.ranges) = (Vec::new(), Vec::new());
        for &(from, until) in &runs {
            if span(from, until) >= RANGE {
                self.ranges.push((from, until));
                continue;
            }
            (from..until).for_each(|number| self.push(number));
        }
        self.runs = runs;
    }

    fn push(&mut self, number: i64) {
        match self.points.last_mut() {
            Some(block) if span(block.base, number) < 1 << 31 => block.offsets.push(span(block.base, number) as u32),
            _ => self.points.push(Block { base: number, offsets: vec![0] }),
        }
    }

    pub fn lost(&self) -> u64 {
        self.runs.iter().map(|&(from, until)| span(from, until)).sum()
    }

    pub fn trials(&self) -> u64 {
        let mut total = [0];
        self.step_stretches(&mut total);
        self.subtract_taken(&mut total);
        total[0].max(0) as u64
    }

    /// Adds the losses that are not in ranges to `table`, by residue modulo its length.
    pub fn add_points(&self, table: &mut [u32]) {
        let n = table.len() as u64;
        // D. Lemire, O. Kaser & N. Kurz, "Faster Remainder by Direct Computation", 2019.
        let inverse = (u64::MAX / n).wrapping_add(1);
        for block in &self.points {
            let shift = residue(block.base, n) as u32;
            for offset in &block.offsets {
                let fraction = inverse.wrapping_mul(u64::from(offset + shift));
                table[((u128::from(fraction) * u128::from(n)) >> 64) as usize] += 1;
            }
        }
    }

    /// Adds the losses in ranges, as [`step_through`] does.
    pub fn step_ranges(&self, differences: &mut [i64]) {
        step_through(&self.ranges, differences);
    }

    /// Adds the eligible numbers, as [`step_through`] does, but for those taken away.
    pub fn step_stretches(&self, differences: &mut [i64]) {
        step_through(&self.stretches, differences);
    }

    /// Subtracts from `table` what was taken away, by residue modulo its length.
    pub fn subtract_taken(&self, table: &mut [i64]) {
        for taken in &self.taken {
            self.stretches.iter().for_each(|&stretch| taken.add(stretch, table));
        }
    }

    pub fn has_taken(&self) -> bool {
        !self.taken.is_empty()
    }

    /// The numbers of a class of width 1 as a sample of their own, counted from 0: the class's jth number is residue + n × j.
    pub fn within(&self, class: Class) -> Self {
        let at = |number: i64| number.saturating_sub_unsigned(class.residue).div_euclid(class.n as i64);
        let first = |from: i64| class.next(from).map_or(i64::MAX, at);
        let stretches = self.stretches.iter().map(|&(from, until)| (first(from), first(until)));
        let hits = self.hits(class).into_iter().map(|(number, _)| (at(number), at(number) + 1));
        Self::new(self.segment, stretches.filter(|(from, until)| from < until).collect(), hits.collect())
    }

    /// The losses of a class, each with the eligible numbers before it; those taken away count as eligible.
    pub fn hits(&self, class: Class) -> Vec<(i64, u64)> {
        let (mut hits, mut before, mut stretches) = (Vec::new(), 0, self.stretches.iter().peekable());
        for &(from, until) in &self.runs {
            while let Some(&&stretch) = stretches.peek().filter(|stretch| stretch.1 <= from) {
                before += span(stretch.0, stretch.1);
                stretches.next();
            }
            let begin = stretches.peek().map_or(from, |stretch| stretch.0);
            let in_class = (from..until).filter(|&number| class.contains(number));
            hits.extend(in_class.map(|number| (number, before + span(begin, number))));
        }
        hits
    }

    /// Whether a number was eligible, or was until it was taken away.
    pub fn holds(&self, number: i64) -> bool {
        self.stretches.iter().any(|&(from, until)| (from..until).contains(&number))
    }

    /// Eligible numbers, with those taken away.
    pub fn length(&self) -> u64 {
        self.stretches.iter().map(|&(from, until)| span(from, until)).sum()
    }

    /// Takes a class away, the losses and the trials: a period explains them. Returns how many progressions that
    /// leaves, each of which costs a scan some steps per period.
    pub fn take(&mut self, class: Class) -> usize {
        for i in 0..class.width {
            let one = Progression { step: class.n, residue: (class.residue + i) % class.n, sign: -1 };
            let both: Vec<_> = self.taken.iter().filter_map(|taken| taken.intersect(one)).collect();
            self.taken.push(one);
            self.taken.extend(both);
        }
        let mut left = Vec::with_capacity(self.runs.len());
        for &(from, until) in &self.runs {
            let mut begin = from;
            for number in (from..until).filter(|&number| class.contains(number)) {
                left.extend((begin < number).then_some((begin, number)));
                begin = number + 1;
            }
            left.extend((begin < until).then_some((begin, until)));
        }
        self.set_runs(left);
        self.taken.len()
    }
}

impl Progression {
    fn add(&self, (from, until): (i64, i64), table: &mut [i64]) {
        let class = Class { n: self.step, residue: self.residue, width: 1 };
        let Some(first) = class.next(from).filter(|&first| first < until) else { return };
        let n = table.len() as u64;
        let terms = (span(first, until) - 1) / self.step + 1;
        let cycle = n / gcd(self.step, n);
        let (all, some) = ((terms / cycle) as i64, terms % cycle);
        let (mut at, step) = (residue(first, n), self.step % n);
        for i in 0..cycle.min(terms) {
            table[at as usize] += self.sign * (all + i64::from(i < some));
            at += step;
            at -= if at < n { 0 } else { n };
        }
    }

    /// The numbers in both, with the sign that taking `self`'s away from `other`'s needs; none when there are none,
    /// or so few that they are no matter.
    fn intersect(&self, other: Progression) -> Option<Progression> {
        let common = gcd(self.step, other.step);
        if !self.residue.abs_diff(other.residue).is_multiple_of(common) {
            return None;
        }
        let step = (self.step / common).checked_mul(other.step).filter(|&step| step < 1 << 62)?;
        let (long, short) = if self.step < other.step { (other, *self) } else { (*self, other) };
        if short.step / common > MOST_SPARSE {
            return None;
        }
        let number = |i: u64| long.residue + i * long.step;
        let i = (0..short.step / common).find(|&i| number(i) % short.step == short.residue)?;
        Some(Progression { step, residue: number(i), sign: -self.sign })
    }
}

/// Adds how often each residue occurs in the ranges, as differences: the sum of the first `i + 1` of them is the
/// count of residue `i` modulo their number.
fn step_through(ranges: &[(i64, i64)], differences: &mut [i64]) {
    let n = differences.len() as u64;
    for &(from, until) in ranges {
        let count = span(from, until);
        let (begin, rest) = (residue(from, n), count % n);
        differences[0] += (count / n) as i64;
        differences[begin as usize] += 1;
        match begin + rest {
            end if end < n => differences[end as usize] -= 1,
            end => {
                differences[0] += 1;
                differences[(end - n) as usize] -= 1;
            }
        }
    }
}

/// `number` modulo `n`, which is below 2⁶³; not negative.
pub fn residue(number: i64, n: u64) -> u64 {
    number.rem_euclid(n as i64) as u64
}

pub fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
