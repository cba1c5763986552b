//! The book against its definitions, applied to the whole history word by word.

use proptest::prelude::*;

use super::*;

fn key(kind: &str, group: &str) -> Key {
    Key { kind: kind.to_owned(), group: Some(group.to_owned()), topic: None, partition: None }
}

fn observed(key: Key, amount: i64) -> Observed {
    Observed { key, why: format!("{amount} behind"), amount, command: String::new(), findings: vec![], is_event: false }
}

fn event(amount: i64, findings: &[&str]) -> Observed {
    let findings = findings.iter().map(|&id| id.to_owned()).collect();
    Observed { is_event: true, findings, ..observed(key("lag-lost", "g"), amount) }
}

fn rules(text: &str) -> Rules {
    Rules::new(&toml::from_str(text).unwrap(), vec!["ops".to_owned()]).unwrap()
}

fn all() -> Evaluated {
    Evaluated::kinds(["*"])
}

fn changes(transitions: &[Transition]) -> Vec<Change> {
    transitions.iter().map(|transition| transition.change).collect()
}

const RULES: &str = "resolve-after = \"20ms\"\n[[rule]]\nkind = \"lag-*\"\nfor = \"30ms\"\nthreshold = 2";

/// What one round did with one key.
#[derive(Clone, Debug)]
struct Seen {
    now_ms: i64,
    amount: Option<i64>,
    is_covered: bool,
}

/// One key's history, read from the definitions.
#[derive(Default)]
struct Model {
    rounds: Vec<Seen>,
    is_open: bool,
    /// Rounds before this one belong to earlier incidents.
    from: usize,
    last: Option<i64>,
}

impl Model {
    fn round(&mut self, round: Seen) -> Option<Change> {
        self.rounds.push(round);
        let history = &self.rounds[self.from..];
        let now = &history[history.len() - 1];
        let is_seen = |round: &Seen| round.amount.is_some();
        let is_gone = |round: &Seen| round.amount.is_none() && round.is_covered;
        if !self.is_open {
            let unbroken = history.iter().rposition(is_gone).map_or(0, |gone| gone + 1);
            let first = history[unbroken..].iter().find(|round| is_seen(round))?;
            let opens = is_seen(now) && now.now_ms - first.now_ms >= 30;
            return opens.then(|| {
                (self.is_open, self.last) = (true, now.amount);
                Change::Opened
            });
        }
        if is_seen(now) {
            let differs = self.last != now.amount;
            self.last = now.amount;
            return differs.then_some(Change::Updated);
        }
        let last_seen = history.iter().rposition(is_seen).unwrap();
        let gone = history[last_seen..].iter().find(|round| is_gone(round))?;
        (now.is_covered && now.now_ms - gone.now_ms >= 20).then(|| {
            (self.is_open, self.from) = (false, self.rounds.len());
            Change::Resolved
        })
    }
}

proptest! {
    #[test]
    fn the_book_does_what_the_definitions_say(
        rounds in prop::collection::vec(
            (1i64..25, prop::collection::vec((prop::option::weighted(0.7, 1i64..4), prop::bool::weighted(0.8)), 3), prop::bool::weighted(0.2)),
            1..40,
        ),
    ) {
        let rules = rules(RULES);
        let mut book = Book::default();
        let mut models: Vec<Model> = (0..3).map(|_| Model::default()).collect();
        let mut now_ms = 1_000;
        for (step, keys, restarts) in rounds {
            now_ms += step;
            let (mut seen, mut evaluated, mut expected) = (Vec::new(), all(), Vec::new());
            for (at, (amount, is_covered)) in keys.into_iter().enumerate() {
                let key = key("lag-stop", &at.to_string());
                if !is_covered {
                    evaluated.except(key.group.as_deref(), None, None);
                }
                seen.extend(amount.map(|amount| observed(key, amount)));
                // What lies below the threshold is not seen.
                let amount = amount.filter(|amount| *amount >= 2);
                expected.extend(models[at].round(Seen { now_ms, amount, is_covered }).map(|change| (at.to_string(), change)));
            }
            let transitions = book.observe(&rules, now_ms, &evaluated, &seen);
            let mut found: Vec<_> = transitions.into_iter().map(|t| (t.incident.observed.key.group.unwrap(), t.change)).collect();
            found.sort_by(|a, b| a.0.cmp(&b.0));
            prop_assert_eq!(found, expected);
            if restarts {
                book = serde_json::from_slice(&serde_json::to_vec(&book).unwrap()).unwrap();
            }
        }
    }
}

#[test]
fn nothing_is_resolved_by_a_collection_that_is_broken() {
    let rules = rules("resolve-after = \"0s\"\n[[rule]]\nfor = \"0s\"");
    let mut book = Book::default();
    let stop = observed(key("lag-stop", "g"), 5);
    assert_eq!(changes(&book.observe(&rules, 0, &all(), std::slice::from_ref(&stop))), [Change::Opened]);
    let mut partly = all();
    partly.except(Some("g"), Some("orders"), Some(3));
    for evaluated in [Evaluated::nothing(), Evaluated::kinds(["sequence-gap"]), partly] {
        assert_eq!(book.observe(&rules, 1_000_000, &evaluated, &[]), []);
    }
    let mut other = all();
    other.except(Some("h"), None, None);
    assert_eq!(changes(&book.observe(&rules, 1_000_001, &other, &[])), [Change::Resolved]);
}

#[test]
fn an_identical_observation_is_no_change() {
    let rules = rules("[[rule]]\nfor = \"0s\"");
    let mut book = Book::default();
    let stop = [observed(key("lag-stop", "g"), 5)];
    assert_eq!(book.observe(&rules, 0, &all(), &stop).len(), 1);
    assert!(book.take_changed());
    assert_eq!(book.observe(&rules, 1, &all(), &stop), []);
    assert!(!book.take_changed());
}

#[test]
fn an_event_is_told_once_however_long_it_stays_true() {
    let rules = rules("[[rule]]\nhold = \"1s\"");
    let mut book = Book::default();
    assert_eq!(changes(&book.observe(&rules, 0, &all(), &[event(500, &["a"])])), [Change::Opened]);
    assert_eq!(book.observe(&rules, 900, &all(), &[]), []);
    // Seen again after it was gone, it is news, and is held from then on.
    assert_eq!(book.observe(&rules, 950, &all(), &[event(500, &["a"])]), []);
    assert_eq!(book.observe(&rules, 1_900, &all(), &[event(500, &["a"])]), []);
    assert_eq!(changes(&book.observe(&rules, 1_950, &all(), &[event(500, &["a"])])), [Change::Resolved]);
    assert_eq!(book.observe(&rules, 3_000, &all(), &[event(500, &["a"])]), []);
    assert_eq!(book.observe(&rules, 3_000, &Evaluated::nothing(), &[]), []);
    assert_eq!(book.observe(&rules, 3_000, &all(), &[event(400, &[])]), []);
    // A new finding opens another one, and so does the same amount after it was gone.
    assert_eq!(changes(&book.observe(&rules, 3_001, &all(), &[event(500, &["a", "b"])])), [Change::Opened]);
    let id = book.open().next().unwrap().id.clone();
    let by = Acknowledged { by: "me".to_owned(), note: String::new(), at_ms: 3_002 };
    assert_eq!(book.acknowledge(&id, by).unwrap().change, Change::Resolved);
    assert_eq!(book.observe(&rules, 3_003, &all(), &[event(500, &["a", "b"])]), []);
    assert_eq!(book.observe(&rules, 3_004, &all(), &[]), []);
    assert_eq!(changes(&book.observe(&rules, 3_005, &all(), &[event(300, &[])])), [Change::Opened]);
}

#[test]
fn a_group_that_is_gone_stays_until_somebody_says_so() {
    let rules = rules("");
    let mut book = Book::default();
    let gone = Observed { is_event: true, ..observed(key("lag-gone", "g"), 9) };
    assert_eq!(changes(&book.observe(&rules, 0, &all(), std::slice::from_ref(&gone))), [Change::Opened]);
    assert_eq!(book.observe(&rules, 40_000_000_000, &all(), &[gone]), []);
}

#[test]
fn an_acknowledged_condition_stays_open_until_it_is_over() {
    let rules = rules("resolve-after = \"0s\"\n[[rule]]\nfor = \"0s\"");
    let mut book = Book::default();
    let id = book.observe(&rules, 0, &all(), &[observed(key("lag-stop", "g"), 5)])[0].incident.id.clone();
    let by = Acknowledged { by: "me".to_owned(), note: "on it".to_owned(), at_ms: 1 };
    assert_eq!(book.acknowledge(&id, by.clone()).unwrap().change, Change::Updated);
    assert!(book.acknowledge("nobody", by).is_none());
    assert_eq!(changes(&book.observe(&rules, 2, &all(), &[])), [Change::Resolved]);
    assert!(book.incidents()[0].acknowledged.is_some());
}

#[test]
fn memory_is_bounded() {
    let rules = rules("resolve-after = \"0s\"\n[[rule]]\nfor = \"0s\"");
    let mut book = Book::default();
    let many: Vec<_> = (0..MAX_OPEN + 5).map(|n| observed(key("lag-stop", &n.to_string()), 5)).collect();
    assert_eq!(book.observe(&rules, 0, &all(), &many).len(), MAX_OPEN);
    assert_eq!(book.refused, 5);
    assert_eq!(book.observe(&rules, 1, &all(), &[]).len(), MAX_OPEN);
    assert_eq!(book.incidents().len(), MAX_RESOLVED);
}
