//! One look-up, whoever holds the ledger at the moment.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{About, Answer, AtRest, Candidate, Found, Hash, Holder, Live, Question, Sought, TraceError, candidates};
use crate::ledger::{Key, LedgerError};

/// A process may just be starting, or ending.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(100);

/// Asks the ledger, or the process that uses it. Which of the two may change between two tries.
pub fn look_up(dir: &Path, sought: &Sought, topic: Option<&str>, key: Option<&Key>) -> Result<Vec<Found>, TraceError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answered = match AtRest::open(dir, key) {
            Ok(mut ledger) => {
                let secret = *ledger.ledger.secret();
                find(&mut ledger, sought, topic, &secret).map(|(_, found)| found)
            }
            Err(TraceError::Ledger(LedgerError::Locked { .. })) => ask_live(dir, sought, topic, key),
            Err(error) => Err(error),
        };
        match answered {
            Err(TraceError::NoAnswer { .. } | TraceError::Failed { .. }) if Instant::now() < deadline => {
                std::thread::sleep(PAUSE);
            }
            answered => return answered,
        }
    }
}

/// The key is read here and never sent.
fn ask_live(dir: &Path, sought: &Sought, topic: Option<&str>, key: Option<&Key>) -> Result<Vec<Found>, TraceError> {
    let mut live = Live::connect(dir)?;
    let key = match key {
        Some(key) => key.clone(),
        None => Key::of_ledger(dir)?,
    };
    find(&mut live, sought, topic, key.secret()).and_then(|(about, found)| {
        let is_same = about.secret == Hash(key.id().into());
        is_same.then_some(found).ok_or(TraceError::OtherKey)
    })
}

/// Looks for every identity that may be meant.
pub fn find(
    holder: &mut dyn Holder,
    sought: &Sought,
    topic: Option<&str>,
    secret: &[u8; 192],
) -> Result<(About, Vec<Found>), TraceError> {
    let mixed_up = || TraceError::Failed { why: "it gave the answer to another question".to_owned() };
    let Answer::About(about) = holder.ask(&Question::About)? else { return Err(mixed_up()) };
    let candidates: Vec<Candidate> = candidates(sought, topic, &about, secret, holder)?;
    let identities = candidates.iter().map(|candidate| Hash(candidate.identity)).collect();
    let Answer::Found { found } = holder.ask(&Question::Find { identities })? else { return Err(mixed_up()) };
    Ok((about, found))
}

impl Found {
    /// One line of JSON per arrival.
    pub fn lines(&self) -> impl Iterator<Item = Value> {
        self.arrivals.iter().map(|arrival| {
            let mut line = json!({
                "type": "sighting",
                "identity": {"hash": self.identity},
                "topic": arrival.topic,
                "partition": arrival.partition,
                "offset": arrival.offset,
                "timestamp": i64::from(arrival.second) * 1000,
                "checksum": format!("{:016x}", arrival.checksum.0 as u64),
                "state": arrival.state,
                "arrivals": self.counted,
            });
            if let Some((id, epoch)) = arrival.producer {
                line["producer"] = json!({"id": id, "epoch": epoch});
            }
            line
        })
    }
}
