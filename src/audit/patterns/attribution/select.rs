//! One cause is named once: of attributes that go together, the one that explains the others.

use super::search::{Candidate, DISCOVERY_RATE, is_worth_a_name};
use super::study::{Members, Study};

/// The stated rate of naming anything where nothing has an effect is one in a thousand; the test asks for ten times that, as its
/// tails are approximations.
const NAMING_RATE: f64 = 1e-4;
/// What an attribute must keep of its significance beside another one to be told apart from it.
const SURVIVAL: f64 = 1e-3;
/// Each cause doubles the strata.
const MOST_CAUSES: usize = 5;

/// A candidate found to be a cause, by its index.
pub(super) struct Choice {
    pub cause: usize,
    /// Candidates that cannot be told apart from it with these losses.
    pub ties: Vec<usize>,
    /// Corrected.
    pub ln_p: f64,
}

/// Forward selection: the candidate that gains most, then the one that gains most with that held fixed, and so on.
pub(super) fn select(study: &Study<'_>, pool: &[Candidate]) -> Vec<Choice> {
    let mut choices: Vec<Choice> = Vec::new();
    let mut live: Vec<usize> = (0..pool.len()).collect();
    while choices.len() < MOST_CAUSES {
        let given: Vec<&Members> = choices.iter().map(|choice| &pool[choice.cause].members).collect();
        let corrected = |i: usize| match given.is_empty() {
            true => pool[i].ln_p + pool[i].ln_tests,
            false => pool[i].ln_p_given(study, &given) + pool[i].ln_tests,
        };
        let limit = if given.is_empty() { NAMING_RATE } else { DISCOVERY_RATE };
        live.retain(|i| is_worth_a_name(&study.scaled(study.table(&pool[*i].members, &given))));
        let ln_ps: Vec<(usize, f64)> = live.iter().map(|i| (*i, corrected(*i))).collect();
        // An attribute that the causes so far explain is done with.
        live = ln_ps.iter().filter(|(_, ln_p)| *ln_p <= DISCOVERY_RATE.ln()).map(|(i, _)| *i).collect();
        let gain = |i: &usize| study.table(&pool[*i].members, &given).g();
        let Some(strongest) = live.iter().copied().max_by(|a, b| gain(a).total_cmp(&gain(b))) else { break };

        let (cause, ties) = rivals(study, pool, &live, strongest, &given);
        let ln_p = ln_ps.iter().find(|(i, _)| *i == cause).map_or(0.0, |(_, ln_p)| *ln_p);
        if ln_p > limit.ln() {
            break;
        }
        live.retain(|i| *i != cause && !ties.contains(i));
        choices.push(Choice { cause, ties, ln_p: ln_p.min(0.0) });
    }
    choices
}

/// Compares the strongest with every other: one that is left with an effect where the strongest is not takes its place; if neither
/// is left with one, they are ties.
fn rivals(
    study: &Study<'_>,
    pool: &[Candidate],
    live: &[usize],
    strongest: usize,
    given: &[&Members],
) -> (usize, Vec<usize>) {
    let survives = |one: usize, beside: usize| {
        let fixed: Vec<&Members> = given.iter().copied().chain([&pool[beside].members]).collect();
        pool[one].ln_p_given(study, &fixed) <= SURVIVAL.ln()
    };
    let compare = |cause: usize| {
        let (mut ties, mut better) = (Vec::new(), None);
        for other in live.iter().copied().filter(|other| *other != cause && !survives(cause, *other)) {
            match survives(other, cause) {
                true => better = better.or(Some(other)),
                false => ties.push(other),
            }
        }
        (ties, better)
    };
    match compare(strongest) {
        (_, Some(better)) => (better, compare(better).0),
        (ties, None) => (strongest, ties),
    }
}
