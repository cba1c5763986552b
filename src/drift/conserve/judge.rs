//! From the totals of both stores to what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};

use super::law::Bound;
use super::total::{Amount, Group, Totals};

/// Which of the two stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Store {
    First,
    Second,
}

/// One group that does not obey its law.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imbalance {
    /// Which law, by its place.
    pub law: usize,
    pub group: Group,
    /// The store whose total must be zero; absent where the stores must agree.
    pub of: Option<Store>,
    pub expected: Amount,
    pub actual: Amount,
}

impl Imbalance {
    /// The same thing is wrong, whatever the numbers are.
    pub fn is_same(&self, other: &Imbalance) -> bool {
        (self.law, self.of, &self.group) == (other.law, other.of, &other.group)
    }
}

/// What there is to say of the laws at one look.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    pub wrong: Vec<Imbalance>,
    /// Groups of each law.
    pub groups: Vec<u64>,
    /// By law: groups of which this look does not say whether they are zero.
    pub moving: BTreeSet<(usize, Group)>,
    /// By law: nobody can say of any group whether it must be zero.
    pub vague: Vec<bool>,
    /// Why nothing is said of them.
    pub unjudged: Option<&'static str>,
}

impl Judged {
    /// Nothing is said.
    pub fn unsaid(why: &'static str) -> Self {
        Self { unjudged: Some(why), ..Self::default() }
    }

    /// Sums of what was read until somebody ended it are of no whole.
    pub fn stopped() -> Self {
        Self::unsaid("it was stopped before everything was added up")
    }

    /// Leaves what was so before, and says nothing of what has moved.
    pub fn settle(&mut self, was_so: impl Fn(&Imbalance) -> bool) {
        let (wrong, moved): (Vec<_>, Vec<_>) = std::mem::take(&mut self.wrong).into_iter().partition(was_so);
        self.wrong = wrong;
        self.moving.extend(moved.into_iter().map(|moved| (moved.law, moved.group)));
    }

    pub fn unjudged(&self, law: usize) -> Option<&'static str> {
        let is_vague = self.vague.get(law).is_some_and(|is_vague| *is_vague);
        self.unjudged.or(is_vague.then_some("the last record of a key does not tell which group it is of"))
    }
}

/// `touched`: groups with a row that may change yet, of which nobody can say that they must be zero; `None` where all may be.
pub fn judge(
    law: usize,
    bound: &Bound,
    first: Totals,
    second: Totals,
    touched: Option<&BTreeSet<Group>>,
    judged: &mut Judged,
) {
    let (first, second) = (first.into_groups(), second.into_groups());
    let groups: BTreeSet<&Group> = first.keys().chain(second.keys()).collect();
    judged.groups.push(groups.len() as u64);
    judged.vague.push(bound.is_zero && touched.is_none());
    if bound.is_zero {
        // Also one that no certain row is of: its finding, too, is left as it is.
        judged.moving.extend(touched.into_iter().flatten().map(|group| (law, group.clone())));
    }
    let none = Amount::default();
    let of = |totals: &BTreeMap<Group, Amount>, group: &Group| totals.get(group).unwrap_or(&none).clone();
    for group in groups {
        let (expected, actual) = (of(&first, group), of(&second, group));
        let wrong = |of, expected, actual| Imbalance { law, group: group.clone(), of, expected, actual };
        if !bound.is_zero {
            if expected != actual {
                judged.wrong.push(wrong(None, expected, actual));
            }
            continue;
        }
        if touched.is_none_or(|touched| touched.contains(group)) {
            continue;
        }
        for (store, total) in [(Store::First, expected), (Store::Second, actual)] {
            if !total.is_zero() {
                judged.wrong.push(wrong(Some(store), Amount::default(), total));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(is_zero: bool) -> Bound {
        Bound {
            text: String::new(),
            of: String::new(),
            terms: Vec::new(),
            groups: vec![(0, None)],
            names: vec!["a".to_owned()],
            is_zero,
        }
    }

    fn totals(law: &Bound, of: &[(&str, &str)]) -> Totals {
        let mut totals = Totals::default();
        for (group, sum) in of {
            totals.add_group(law, vec![Some((*group).to_owned())], &Amount::of(sum)).unwrap();
        }
        totals
    }

    fn wrong(is_zero: bool, first: &[(&str, &str)], second: &[(&str, &str)], touched: Option<&[&str]>) -> Vec<String> {
        let law = bound(is_zero);
        let touched: Option<BTreeSet<Group>> =
            touched.map(|groups| groups.iter().map(|group| vec![Some((*group).to_owned())]).collect());
        let mut judged = Judged::default();
        judge(0, &law, totals(&law, first), totals(&law, second), touched.as_ref(), &mut judged);
        let said = |wrong: &Imbalance| {
            format!("{} {:?} {} {}", wrong.group[0].as_deref().unwrap(), wrong.of, wrong.expected, wrong.actual)
        };
        judged.wrong.iter().map(said).collect()
    }

    #[test]
    fn stores_must_agree_on_every_group() {
        let first = [("EUR", "1.10"), ("JPY", "5"), ("USD", "2.0"), ("XAU", "0")];
        let second = [("EUR", "1.1"), ("CHF", "3"), ("USD", "2.01")];
        let wanted = ["CHF None 0 3", "JPY None 5 0", "USD None 2.0 2.01"];
        assert_eq!(wrong(false, &first, &second, Some(&[])), wanted);
        // What is in flight is in neither sum: the groups are judged all the same.
        assert_eq!(wrong(false, &first, &second, Some(&["USD"])), wanted);
    }

    #[test]
    fn each_store_must_be_zero_where_nothing_moves() {
        let first = [("a", "0"), ("b", "1"), ("c", "2")];
        let second = [("a", "0.00"), ("b", "0"), ("c", "2"), ("d", "NaN")];
        let all = ["b Some(First) 0 1", "c Some(First) 0 2", "c Some(Second) 0 2"];
        let found = wrong(true, &first, &second, Some(&[]));
        assert_eq!(found[..3], all);
        assert_eq!(found.len(), 4);
        assert_eq!(wrong(true, &first, &second, Some(&["c", "d"])), all[..1]);
        assert_eq!(wrong(true, &first, &second, None), Vec::<String>::new());
    }

    #[test]
    fn what_is_not_judged_is_said() {
        let law = bound(true);
        let touched = BTreeSet::from([vec![Some("c".to_owned())]]);
        let mut judged = Judged::default();
        judge(0, &law, totals(&law, &[("c", "1")]), Totals::default(), Some(&touched), &mut judged);
        assert_eq!((judged.unjudged(0), judged.moving.len()), (None, 1));
        judge(1, &law, totals(&law, &[("c", "1")]), Totals::default(), None, &mut judged);
        let agreeing = bound(false);
        judge(2, &agreeing, totals(&agreeing, &[("c", "1")]), Totals::default(), None, &mut judged);
        assert!(judged.unjudged(1).is_some() && judged.unjudged(2).is_none() && judged.wrong.len() == 1);
    }
}
