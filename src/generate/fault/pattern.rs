//! Faults with a pattern: what is hit follows from where a record stands and what it is, not from a rate alone.

/// Every n-th number, counted by whatever loses it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Every {
    pub n: u64,
    /// The share of the n-th numbers that are really hit.
    pub rate: f64,
    pub residue: u64,
    /// How far a hit may lie beside its place, on either side.
    pub jitter: u64,
    /// The count begins anew after so many numbers.
    pub restart: Option<u64>,
}

/// What is hit when it has an attribute, at a rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Where {
    pub attribute: Attribute,
    pub rate: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Attribute {
    Producer(u32),
    Partition(i32),
    /// The key's hash modulo so much.
    KeyClass {
        modulus: u64,
        residue: u64,
    },
    /// Values of at least so many bytes: a tenth of all, made for it.
    Larger(usize),
    /// Everything after this share of the records.
    After(f64),
}

/// Copies of a record at fixed delays from when it came first.
#[derive(Clone, Debug, PartialEq)]
pub struct Comb {
    pub rate: f64,
    pub delays_ms: Vec<u64>,
    /// Delays are spread from half to one and a half of what was asked: nothing shows a comb.
    pub has_jitter: bool,
}

impl Every {
    /// Whether the number is hit. `random` gives a number in [0, 1) for one turn of the count, the first for the rate and
    /// the second for the jitter.
    pub fn hits(&self, number: u64, random: impl Fn(u64) -> (f64, f64)) -> bool {
        let begun = self.restart.map_or(0, |restart| number / restart * restart);
        let turn = (number - begun) / self.n;
        // A hit that jitters may belong to the turn before or after.
        (turn.saturating_sub(1)..=turn + 1).any(|turn| {
            let first = begun + turn * self.n;
            let (rate, jitter) = random(first);
            let width = (2 * self.jitter + 1) as f64;
            first + self.residue + (jitter * width) as u64 == number + self.jitter && rate < self.rate
        })
    }

    /// The residues modulo n of its numbers below `until`, jitter apart: one, unless it begins anew.
    pub fn residues(&self, until: u64) -> Vec<u64> {
        let Some(restart) = self.restart else { return vec![self.residue] };
        // They repeat after n restarts at the latest.
        let restarts = (until.saturating_sub(1) / restart).min(self.n);
        let mut residues: Vec<u64> =
            (0..=restarts).map(|again| (self.residue + again * (restart % self.n)) % self.n).collect();
        residues.sort_unstable();
        residues.dedup();
        residues
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(every: &Every, until: u64) -> Vec<u64> {
        // Turn by turn the least, the largest and a middling jitter; every third turn is spared by a rate below 0.9.
        let random = |first: u64| match first / every.n % 3 {
            0 => (0.1, 0.0),
            1 => (0.5, 0.999),
            _ => (0.9, 0.5),
        };
        (0..until).filter(|&number| every.hits(number, random)).collect()
    }

    #[test]
    fn every_nth_is_hit_on_its_residue() {
        let every = Every { n: 10, rate: 1.0, residue: 9, jitter: 0, restart: None };
        assert_eq!(hits(&every, 40), [9, 19, 29, 39]);
        assert_eq!(hits(&Every { residue: 0, rate: 0.6, ..every }, 40), [0, 10, 30]);
        assert_eq!(hits(&Every { residue: 5, jitter: 2, ..every }, 40), [3, 17, 25, 33]);
        // A hit before the beginning of the count does not exist; one that jitters into the next turn does.
        assert_eq!(hits(&Every { residue: 0, jitter: 1, ..every }, 40), [11, 20, 29]);
        assert_eq!(hits(&Every { jitter: 1, ..every }, 40), [8, 20, 29, 38]);
    }

    #[test]
    fn a_count_that_begins_anew_moves_its_residue() {
        let every = Every { n: 10, rate: 1.0, residue: 3, jitter: 0, restart: Some(25) };
        assert_eq!(hits(&every, 75), [3, 13, 23, 28, 38, 48, 53, 63, 73]);
        for until in [20, 40, 70, 1_000] {
            let mut expected: Vec<u64> = hits(&every, until).iter().map(|number| number % every.n).collect();
            expected.sort_unstable();
            expected.dedup();
            assert_eq!(every.residues(until), expected);
        }
    }
}
