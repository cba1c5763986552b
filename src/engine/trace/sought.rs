//! From what the user knows of a record to the identities it may have in a ledger, under the rules the ledger was made
//! with and its secret.

use std::collections::BTreeSet;

use super::super::sessions::number_identity;
use super::{About, Answer, Hash, Holder, Question, TraceError};
use crate::identify::{IdentityHasher, Rules, Spec};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sought {
    /// The id as the ledger's rule reads it; for CloudEvents source and id with a space between them. When it has the form
    /// of a hash it is taken for one, too.
    Id(String),
    /// The hash that a finding shows.
    Hash(u128),
    /// A number of a session; without a rule for sessions the session is empty.
    Number { session: String, number: i64 },
}

/// An identity to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub identity: u128,
    /// The topic it would belong to; unknown for a hash.
    pub topic: Option<String>,
}

/// Thirty-two hexadecimal digits, as findings show them.
pub fn parse_hash(text: &str) -> Option<u128> {
    let is_hash = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

impl Sought {
    pub fn hash(text: &str) -> Result<Self, TraceError> {
        let unfit = || TraceError::Unfit { why: format!("\"{text}\" is no hash; a finding shows it as identity.hash") };
        parse_hash(text).map(Sought::Hash).ok_or_else(unfit)
    }
}

/// Every identity that may be meant, in all topics the ledger knows or in one.
pub fn candidates(
    sought: &Sought,
    topic: Option<&str>,
    about: &About,
    secret: &[u8; 192],
    holder: &mut dyn Holder,
) -> Result<Vec<Candidate>, TraceError> {
    let known: BTreeSet<&str> = about.partitions.iter().map(|(topic, _)| &**topic).collect();
    if let Some(topic) = topic.filter(|topic| !known.contains(topic)) {
        let topics = known.into_iter().collect::<Vec<_>>().join(", ");
        return Err(TraceError::Unfit { why: format!("the ledger knows no topic {topic}; it knows {topics}") });
    }
    let topics: Vec<&str> = known.into_iter().filter(|known| topic.is_none_or(|topic| topic == *known)).collect();
    let rules = rules_of(&about.rules)?;
    match sought {
        Sought::Hash(identity) => Ok(vec![Candidate { identity: *identity, topic: None }]),
        Sought::Id(id) => {
            let by_hash = parse_hash(id).map(|identity| Candidate { identity, topic: None });
            let mut all: Vec<Candidate> = by_hash.into_iter().collect();
            match (by_id(id, &rules, &topics, secret), all.is_empty()) {
                (Ok(by_id), _) => all.extend(by_id),
                (Err(error), true) => return Err(error),
                // It may still be the hash.
                (Err(_), false) => {}
            }
            Ok(all)
        }
        Sought::Number { session, number } => by_number(session, *number, &rules, &topics, about, secret, holder),
    }
}

fn by_id(id: &str, rules: &Rules, topics: &[&str], secret: &[u8; 192]) -> Result<Vec<Candidate>, TraceError> {
    let unfit = |why: &str| Err(TraceError::Unfit { why: why.to_owned() });
    let rung = rules.rung();
    let parts: Vec<Vec<&[u8]>> = match rules.row_identity() {
        Some(Spec::Key | Spec::Header(_) | Spec::Json(_)) => vec![vec![id.as_bytes()]],
        // An id may hold spaces, and so might a source.
        Some(Spec::CloudEvents) => {
            let bytes = id.as_bytes();
            id.match_indices(' ').map(|(at, _)| vec![&bytes[..at], &bytes[at + 1..]]).collect()
        }
        Some(Spec::Content | Spec::Debezium | Spec::Producer) => Vec::new(),
        None if rules.identity_is_number() => {
            return unfit("this ledger tells records by session and number; give --session and --number, or a hash");
        }
        None => return unfit("this ledger keeps no identities: it was made without --id and --sequence"),
    };
    if parts.is_empty() && rules.row_identity() == Some(&Spec::CloudEvents) {
        return unfit("a CloudEvent is told by source and id; give both with a space between, as \"SOURCE ID\"");
    }
    if parts.is_empty() {
        return unfit("this ledger's rule reads more than one value; give the hash that a finding shows");
    }
    let candidates = topics.iter().flat_map(|topic| {
        let mut hasher = IdentityHasher::new(secret, topic);
        let identity = |parts: &Vec<&[u8]>| hasher.identity(rung, parts);
        let identities: Vec<u128> = parts.iter().map(identity).collect();
        identities.into_iter().map(|identity| Candidate { identity, topic: Some((*topic).to_owned()) })
    });
    Ok(candidates.collect())
}

/// A session is one of its partition, unless sessions run over the whole topic, and each time it began anew its
/// numbers are others.
fn by_number(
    session: &str,
    number: i64,
    rules: &Rules,
    topics: &[&str],
    about: &About,
    secret: &[u8; 192],
    holder: &mut dyn Holder,
) -> Result<Vec<Candidate>, TraceError> {
    if !rules.identity_is_number() {
        let why = "this ledger does not tell records by session and number; give the id, or a hash".to_owned();
        return Err(TraceError::Unfit { why });
    }
    let mut places: BTreeSet<(&str, Option<i32>)> = BTreeSet::new();
    for (topic, partition) in about.partitions.iter().filter(|(topic, _)| topics.contains(&&**topic)) {
        places.insert((topic, (!rules.topic_scope).then_some(*partition)));
    }
    let name =
        |(topic, partition): &(&str, _)| IdentityHasher::new(secret, topic).session(session.as_bytes(), *partition);
    let sessions: Vec<u64> = places.iter().map(name).collect();
    let question = Question::Incarnations { sessions: sessions.iter().map(|&name| Hash(name.into())).collect() };
    let Answer::Incarnations { incarnations } = holder.ask(&question)? else { return Err(mixed_up()) };
    let mut all = Vec::new();
    for ((topic, _), (session, last)) in places.into_iter().zip(sessions.into_iter().zip(incarnations)) {
        let mut hasher = IdentityHasher::new(secret, topic);
        all.extend((0..=last).map(|incarnation| Candidate {
            identity: number_identity(&mut hasher, session, incarnation, number),
            topic: Some(topic.to_owned()),
        }));
    }
    Ok(all)
}

pub(super) fn mixed_up() -> TraceError {
    TraceError::Failed { why: "it gave the answer to another question".to_owned() }
}

/// Reads rules back from the flags the ledger keeps.
pub(super) fn rules_of(flags: &str) -> Result<Rules, TraceError> {
    let unfit =
        |why: String| TraceError::Unfit { why: format!("the ledger's rules \"{flags}\" cannot be read: {why}") };
    let spec = |text: &str| text.parse::<Spec>().map(Some).map_err(|error| unfit(error.to_string()));
    let mut rules = Rules::default();
    for flag in format!(" {flags}").split(" --").filter(|flag| !flag.is_empty()) {
        match flag.split_once(' ').unwrap_or((flag, "")) {
            ("id", text) => rules.id = spec(text)?,
            ("session", text) => rules.session = spec(text)?,
            ("sequence", text) => rules.sequence = spec(text)?,
            ("scope", scope) => rules.topic_scope = scope == "topic",
            _ => {}
        }
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody is asked.
    struct Nobody;

    impl Holder for Nobody {
        fn ask(&mut self, _: &Question) -> Result<Answer, TraceError> {
            Ok(Answer::Incarnations { incarnations: vec![2, 0] })
        }
    }

    fn of(sought: &Sought, rules: &str, topic: Option<&str>) -> Result<Vec<Candidate>, String> {
        let partitions = vec![("a".to_owned(), 0), ("a".to_owned(), 1), ("b".to_owned(), 0)];
        let about = About { rules: rules.to_owned(), secret: Hash(0), partitions, coverage: Vec::new(), flow: None };
        candidates(sought, topic, &about, &[7; 192], &mut Nobody).map_err(|error| error.to_string())
    }

    fn id(text: &str) -> Sought {
        Sought::Id(text.to_owned())
    }

    #[test]
    fn an_id_is_looked_for_in_every_topic_or_in_the_one_named() {
        let rules = "--id header:event id --session key --scope partition";
        assert_eq!(of(&id("x"), rules, None).unwrap().len(), 2);
        assert_eq!(of(&id("x"), rules, Some("b")).unwrap()[0].topic.as_deref(), Some("b"));
        assert!(of(&id("x"), rules, Some("c")).unwrap_err().contains("knows a, b"));
        let hash = "00000000000000000000000000000abc";
        assert_eq!(of(&id(hash), rules, None).unwrap()[0], Candidate { identity: 0xabc, topic: None });
        assert_eq!(of(&id(hash), rules, None).unwrap().len(), 3);
    }

    #[test]
    fn a_cloud_event_is_tried_at_every_space() {
        assert_eq!(of(&id("/shop 1 2"), "--id cloudevents --scope partition", Some("a")).unwrap().len(), 2);
        assert!(of(&id("1"), "--id cloudevents --scope partition", None).unwrap_err().contains("SOURCE ID"));
    }

    #[test]
    fn a_number_is_looked_for_in_every_incarnation_of_every_partition() {
        let number = Sought::Number { session: "s".to_owned(), number: 5 };
        assert_eq!(of(&number, "--sequence header:n --scope partition", Some("a")).unwrap().len(), 3 + 1);
        assert_eq!(of(&number, "--sequence header:n --scope topic", Some("a")).unwrap().len(), 3);
        assert!(of(&number, "--id key --sequence header:n --scope topic", None).unwrap_err().contains("give the id"));
    }

    #[test]
    fn what_does_not_fit_the_rules_says_what_would() {
        for (rules, says) in [
            ("--id content --scope partition", "give the hash"),
            ("--id debezium --scope partition", "give the hash"),
            ("--sequence header:n --scope partition", "--number"),
            ("--scope partition", "keeps no identities"),
            ("--id nonsense", "cannot be read"),
        ] {
            let why = of(&id("x"), rules, None).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
        assert!(Sought::hash("xyz").is_err());
    }
}
