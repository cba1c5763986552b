//! `dimensional-loss`: do losses sit on one value of a dimension, on a pair of values, or after one moment?
//!
//! Feed a [`Tally`] with every unit that arrived and every one that was lost, then ask [`attribute`]. Lost units are compared with those
//! that arrived, value by value (G-test, Fisher's where counts are small; Benjamini & Hochberg), within stretches of time (Mantel &
//! Haenszel) and with losses of one period counted together (Kish's design effect). What is left is thinned to one name for one
//! cause by stratifying the candidates by each other. Where nothing has an effect, anything is named less than once in a thousand audits.
//!
//! Whatever needs two attributes at once — pairs, key classes, strata — is computed from uniform samples of at most 16,384 units
//! that arrived and as many that were lost. Comparing L lost units with a sample of S loses no correctness, as the tables hold counts
//! and not estimates; it widens confidence intervals by √(1 + L / S) (case-control sampling, Breslow & Day 1980). Rates that rest
//! on the sample are marked as estimates: with n sampled units inside, their relative standard error is 1 / √n.

mod bins;
mod sample;
mod search;
mod select;
mod since;
mod study;
mod tables;
mod tally;

#[cfg(test)]
mod calibration;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use sample::Rows;
use search::{Candidate, LEAST_LOST, LEAST_RISK_RATIO, LEAST_SUPPORT, Set};
use select::Choice;
use since::Step;
use study::{Members, Study};
use tables::Table;

pub use bins::{Counts, TimeBins};
pub(super) use sample::mix;
pub use sample::{UNKNOWN, Unit};
pub use search::Named;
pub use tally::{Dimension, MOST_VALUES, OTHER, SAMPLE, Tally};

/// How much alike "this value" and "after this moment" must be (φ coefficient) to be the same thing in other words.
const SAME: f64 = 0.9;

/// Units with something in common that lose more than the rest. The rest are those known not to have it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// The dimension as declared, `key-hash-mod-m` for a key class, or `time` for everything since a moment.
    pub dimension: String,
    pub value: String,
    /// The second attribute, where only both together lose.
    pub pair: Option<Named>,
    pub lost: u64,
    /// Lost and arrived.
    pub sent: u64,
    /// Lost of sent, 0 to 1.
    pub rate: f64,
    pub rest_lost: u64,
    pub rest_sent: u64,
    pub rest_rate: f64,
    /// `rate` by `rest_rate`; half a loss is taken for none of the rest.
    pub risk_ratio: f64,
    /// The part of all loss that would not be if these units lost as the rest do (attributable fraction), 0 to 1.
    pub explained: f64,
    /// ln of the probability of this by chance, corrected for all that was tested.
    pub ln_p: f64,
    /// Attributes that cannot be told apart from this one with what was seen.
    pub ties: Vec<Named>,
    /// When it began, if it began after the first tenth of the units and before the last, where a step cannot be told from a burst.
    pub since: Option<Since>,
    /// Whether `sent` was estimated from the sample.
    pub estimated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Since {
    /// Start of the first time bin with the higher rate, and how wide bins are.
    pub time_ms: i64,
    pub within_ms: i64,
    pub before_rate: f64,
    pub after_rate: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// By the part of all loss they explain, largest first.
    pub causes: Vec<Cause>,
    pub sent: u64,
    pub lost: u64,
    /// Attributes tested, which every probability is corrected for.
    pub tests: u64,
    /// Dimensions with more than [`MOST_VALUES`] values: those after the first so many were counted as one.
    pub capped: Vec<String>,
    /// Units in the samples.
    pub sampled_arrivals: u64,
    pub sampled_losses: u64,
}

/// What the losses of a population have in common. Costs some tens of milliseconds, mostly for candidates: ask once a report.
pub fn attribute(tally: &Tally) -> Report {
    let study = Study::new(&tally.losses, &tally.arrivals);
    let (arrived, lost) = (tally.arrivals.seen(), tally.losses.seen());
    let mut report = Report {
        sent: arrived + lost,
        lost,
        capped: tally.dimensions.iter().filter(|d| d.is_capped()).map(|d| d.name.clone()).collect(),
        sampled_arrivals: study.controls.len() as u64,
        sampled_losses: study.cases.len() as u64,
        ..Report::default()
    };
    if (lost as f64) < LEAST_LOST || arrived == 0 {
        return report;
    }
    let (pool, tests) = search::candidates(tally, &study);
    report.tests = tests;
    let choices = select::select(&study, &pool);
    report.causes = choices.iter().map(|choice| cause(tally, &study, &pool, choice)).collect();
    let named: Vec<&Members> = choices.iter().map(|choice| &pool[choice.cause].members).collect();
    report.causes.extend(since_a_moment(tally, &study, &named));
    report.causes.sort_by(|a, b| b.explained.total_cmp(&a.explained));
    report
}

fn cause(tally: &Tally, study: &Study<'_>, pool: &[Candidate], choice: &Choice) -> Cause {
    let Candidate { set, members, .. } = &pool[choice.cause];
    let (table, estimated) = match set {
        Set::Value { dimension, low, high } if !tally.dimensions[*dimension].is_sampled => {
            let of = &tally.dimensions[*dimension];
            let sum = |counts: &[u64]| counts[*low as usize..=*high as usize].iter().sum::<u64>();
            let (in_lost, in_arrived) = (sum(&of.lost), sum(&of.arrived));
            let table = Table {
                in_lost: in_lost as f64,
                out_lost: (of.known_lost() - in_lost) as f64,
                in_arrived: in_arrived as f64,
                out_arrived: (of.known_arrived() - in_arrived) as f64,
            };
            (table, false)
        }
        _ => (study.scaled(study.table(members, &[])), study.control_weight > 1.0 || study.case_weight > 1.0),
    };
    let Named { dimension, value } = set.named(&tally.dimensions);
    let words = |i: &usize| match &pool[*i].set {
        Set::Pair(parents) => {
            let (a, b) = (parents[0].named(&tally.dimensions), parents[1].named(&tally.dimensions));
            Named {
                dimension: format!("{} and {}", a.dimension, b.dimension),
                value: format!("{} and {}", a.value, b.value),
            }
        }
        set => set.named(&tally.dimensions),
    };
    Cause {
        dimension,
        value,
        pair: match set {
            Set::Pair(parents) => Some(parents[1].named(&tally.dimensions)),
            _ => None,
        },
        ln_p: choice.ln_p,
        ties: choice.ties.iter().map(words).collect(),
        since: began(study, members),
        estimated,
        ..figures(table)
    }
}

/// What a table of the population says, without words.
fn figures(table: Table) -> Cause {
    let (sent, rest_sent) = (table.in_lost + table.in_arrived, table.out_lost + table.out_arrived);
    let rate = |lost: f64, sent: f64| if sent > 0.0 { lost / sent } else { 0.0 };
    let (inside, rest) = (rate(table.in_lost, sent), rate(table.out_lost, rest_sent));
    Cause {
        dimension: String::new(),
        value: String::new(),
        pair: None,
        lost: table.in_lost.round() as u64,
        sent: sent.round() as u64,
        rate: inside,
        rest_lost: table.out_lost.round() as u64,
        rest_sent: rest_sent.round() as u64,
        rest_rate: rest,
        risk_ratio: table.risk_ratio(),
        explained: ((table.in_lost - sent * rest) / (table.in_lost + table.out_lost).max(1.0)).max(0.0),
        ln_p: 0.0,
        ties: Vec::new(),
        since: None,
        estimated: false,
    }
}

/// When the units of a cause began to lose, from the samples.
fn began(study: &Study<'_>, members: &Members) -> Option<Since> {
    let series =
        sampled_series(study, |case| members.cases[case] == Some(true), |unit| members.controls[unit] == Some(true));
    moment(&series, study.case_weight, study.control_weight).map(|(since, _)| since)
}

/// The moment since which everything loses more that no named cause accounts for.
fn since_a_moment(tally: &Tally, study: &Study<'_>, named: &[&Members]) -> Option<Cause> {
    let (series, weights) = if named.is_empty() {
        (tally.times.clone(), (1.0, 1.0))
    } else {
        let free = |row: usize| named.iter().all(|members| members.cases[row] != Some(true));
        let series = sampled_series(study, free, |row| named.iter().all(|members| members.controls[row] != Some(true)));
        (series, (study.case_weight, study.control_weight))
    };
    let (since, step) = moment(&series, weights.0, weights.1)?;
    let table = Table {
        in_lost: step.after.lost as f64 * weights.0,
        in_arrived: step.after.arrived as f64 * weights.1,
        out_lost: step.before.lost as f64 * weights.0,
        out_arrived: step.before.arrived as f64 * weights.1,
    };
    let trivial = table.risk_ratio() < LEAST_RISK_RATIO || table.in_lost < LEAST_SUPPORT * tally.losses.seen() as f64;
    (!trivial).then(|| Cause {
        dimension: "time".to_owned(),
        value: since.time_ms.to_string(),
        ln_p: step.ln_p.min(0.0),
        ties: began_with(tally, study.controls, since.time_ms),
        since: Some(since),
        estimated: weights != (1.0, 1.0),
        ..figures(table)
    })
}

fn sampled_series(study: &Study<'_>, case: impl Fn(usize) -> bool, control: impl Fn(usize) -> bool) -> TimeBins {
    let mut series = TimeBins::default();
    let mut rows: Vec<(i64, u64)> = Vec::new();
    rows.extend((0..study.cases.len()).filter(|row| case(*row)).map(|row| (study.cases.times[row], 1)));
    rows.extend((0..study.controls.len()).filter(|row| control(*row)).map(|row| (study.controls.times[row], 0)));
    rows.sort_unstable();
    rows.into_iter().for_each(|(time, lost)| series.add(time, 1 - lost, lost));
    series
}

fn moment(series: &TimeBins, case_weight: f64, control_weight: f64) -> Option<(Since, Step)> {
    let bins = series.counts();
    let step = since::step(&bins.iter().map(|(_, counts)| *counts).collect::<Vec<_>>())?;
    let rate = |counts: Counts| {
        let (lost, arrived) = (counts.lost as f64 * case_weight, counts.arrived as f64 * control_weight);
        lost / (lost + arrived).max(1.0)
    };
    let since = Since {
        time_ms: bins[step.bin].0,
        within_ms: series.width_ms(),
        before_rate: rate(step.before),
        after_rate: rate(step.after),
    };
    Some((since, step))
}

/// Values that units have since the moment and had not before: what changed then.
fn began_with(tally: &Tally, controls: &Rows, time_ms: i64) -> Vec<Named> {
    let mut found = Vec::new();
    let late: Vec<bool> = controls.times.iter().map(|time| *time >= time_ms).collect();
    for (index, dimension) in tally.dimensions.iter().enumerate() {
        let mut counts = vec![[0.0; 2]; dimension.arrived.len()];
        let mut known = [0.0; 2];
        for (row, late) in late.iter().enumerate().filter(|(row, _)| controls.code(*row, index) != UNKNOWN) {
            known[usize::from(*late)] += 1.0;
            if let Some(count) = counts.get_mut(controls.code(row, index) as usize) {
                count[usize::from(*late)] += 1.0;
            }
        }
        for (code, [before, after]) in counts.into_iter().enumerate() {
            let (own, all) = (before + after, known[0] + known[1]);
            let spread: f64 = own * (all - own) * known[0] * known[1];
            if spread > 0.0 && (after * all - own * known[1]) / spread.sqrt() >= SAME {
                found.push(Named {
                    dimension: dimension.name.clone(),
                    value: dimension.label(code as u32, code as u32),
                });
            }
        }
    }
    found
}
