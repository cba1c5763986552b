//! Which kinds of anomaly this audit could not have found, topic by topic, and why: "none found" must mean something.

use std::collections::BTreeMap;

use crate::audit::finding::Kind;
use crate::audit::partition::PartitionState;
use crate::audit::verdict::NotChecked;
use crate::identify::Rules;
use crate::source::PartitionInfo;

/// What one topic offers the checks.
#[derive(Default)]
struct Facts {
    records: u64,
    batches: u64,
    unidentified: u64,
    producers: u64,
    unknown: u64,
    compacted: bool,
    hides_headers: bool,
    has_topic_id: bool,
    is_compared: bool,
}

/// What was asked of the checks.
pub struct Asked<'a> {
    pub rules: &'a Rules,
    pub sequence_start: Option<i64>,
    /// The topics are the stages of a flow.
    pub flow: bool,
    /// Lines of text instead of a log.
    pub is_text: bool,
    /// Whether a topic's losses are compared with what arrived.
    pub is_compared: &'a dyn Fn(&str) -> bool,
}

/// `partitions` with what the source said of each in this run; `refused` are topics that could not be read at all.
pub fn not_checked<'a>(
    partitions: impl IntoIterator<Item = (&'a PartitionState, Option<PartitionInfo>)>,
    refused: impl IntoIterator<Item = &'a str>,
    asked: &Asked<'_>,
) -> Vec<NotChecked> {
    let mut topics: BTreeMap<&str, Facts> = refused.into_iter().map(|topic| (topic, Facts::default())).collect();
    for (state, info) in partitions {
        let facts = topics.entry(&state.topic).or_default();
        facts.records += state.offsets.records;
        facts.batches += state.offsets.batches;
        facts.unidentified += state.unidentified;
        facts.producers += state.producers.sessions;
        facts.unknown += state.offsets.holes.unknown;
        facts.compacted |= info.as_ref().is_some_and(|info| info.cleanup.is_compacted());
        facts.hides_headers |= info.as_ref().is_some_and(|info| !info.has_headers);
        facts.has_topic_id |= state.topic_id.is_some();
    }
    let mut out = Vec::new();
    for (topic, facts) in topics {
        let facts = Facts { is_compared: (asked.is_compared)(topic), ..facts };
        let mut say = |kinds: &[Kind], why: &str| {
            let (topic, kinds, why) = (topic.to_owned(), kinds.to_vec(), why.to_owned());
            out.push(NotChecked { topic, kinds, why });
        };
        if facts.batches == 0 {
            say(&Kind::of_audits().collect::<Vec<_>>(), "nothing of it was read");
            continue;
        }
        numbers(&facts, asked, &mut say);
        identities(&facts, asked.rules, &mut say);
        patterns(&facts, asked, &mut say);
        log(&facts, asked.is_text, &mut say);
    }
    out
}

fn numbers(facts: &Facts, asked: &Asked<'_>, say: &mut dyn FnMut(&[Kind], &str)) {
    use Kind::{HeadLoss, Reorder, SequenceGap, TailLoss};
    if asked.rules.sequence.is_some() {
        if facts.unidentified >= facts.records {
            say(&[SequenceGap, HeadLoss, TailLoss, Reorder], "no record fits --session and --sequence");
            return;
        }
        if asked.sequence_start.is_none() {
            say(&[HeadLoss], "the first number of a session is not declared; --sequence-start does");
        }
        if asked.rules.sequence_end.is_none() {
            say(&[TailLoss], "no session declares its last number; --sequence-end names where it stands");
        }
    } else if facts.producers == 0 {
        let why = "no record names an idempotent producer; --session and --sequence name an application's own numbers";
        say(&[SequenceGap, HeadLoss, TailLoss, Reorder], why);
    } else {
        if facts.compacted {
            say(&[SequenceGap], "the log cleaner removes numbers of producers from a compacted topic");
        }
        say(&[HeadLoss, TailLoss, Reorder], "producer sequences do not show it; --session and --sequence do");
    }
}

fn identities(facts: &Facts, rules: &Rules, say: &mut dyn FnMut(&[Kind], &str)) {
    use Kind::{Conflict, Duplicate};
    let costs_rows = rules.row_identity().is_some() || rules.identity_is_number();
    if costs_rows && facts.unidentified >= facts.records {
        say(&[Duplicate, Conflict], "no record fits the rule that names its identity");
    } else if !costs_rows && facts.producers == 0 {
        say(&[Duplicate, Conflict], "no identity is known; --id names it");
    } else if !costs_rows {
        say(&[Conflict], "producer sequences do not show it; --id does");
    }
}

fn patterns(facts: &Facts, asked: &Asked<'_>, say: &mut dyn FnMut(&[Kind], &str)) {
    use Kind::{Burst, DimensionalLoss, MissingStage, PeriodicLoss, RetryComb, StageMismatch, UnexpectedRecord};
    let costs_rows = asked.rules.row_identity().is_some() || asked.rules.identity_is_number();
    let is_numbered = asked.rules.sequence.is_some() && facts.unidentified < facts.records;
    if !asked.flow {
        say(&[MissingStage, UnexpectedRecord, StageMismatch], "the topic is no stage of a flow");
    }
    if !asked.flow && !is_numbered && facts.producers == 0 {
        say(
            &[DimensionalLoss],
            "nothing shows what is lost; idempotent producers, --session and --sequence, or a flow, do",
        );
    } else if !facts.is_compared && facts.records > 0 {
        let most = super::losses::MOST_TOPICS;
        let why = format!("its losses are not compared with what arrived; those of the first {most} topics are");
        say(&[DimensionalLoss], &why);
    }
    if !asked.flow && !is_numbered {
        say(&[PeriodicLoss, Burst], "nothing counts what may be lost; --session and --sequence, or a flow, do");
    }
    if !costs_rows {
        say(&[RetryComb], "no identity is known; --id names it");
    }
}

fn log(facts: &Facts, is_text: bool, say: &mut dyn FnMut(&[Kind], &str)) {
    use Kind::{ChecksumFailure, EpochRegression, OffsetGap, RetentionOverrun, TimestampRegression};
    use Kind::{TopicReset, Truncation};
    if facts.records == 0 {
        say(&[TimestampRegression], "no record was seen");
    }
    if facts.unknown > 0 {
        say(&[OffsetGap], "this source hides why offsets hold no record; the raw client explains them");
    }
    if is_text {
        let kinds = [Truncation, RetentionOverrun, ChecksumFailure, EpochRegression, TopicReset];
        say(&kinds, "lines of text say nothing of the log they come from");
    } else if facts.hides_headers {
        say(&[Truncation, EpochRegression], "this client hides the headers of batches; the raw client reads them");
    }
    if !is_text && !facts.has_topic_id {
        say(&[TopicReset], "no topic id is known, so a topic made anew looks like the old one");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identify::Spec;

    fn state(topic: &str, records: u64, producers: u64) -> PartitionState {
        let mut state = PartitionState::new(topic, Some(uuid::Uuid::from_u128(1)), 0, 0);
        state.offsets.records = records;
        state.offsets.batches = records.div_ceil(10);
        state.producers.sessions = producers;
        state
    }

    fn missed(states: &[PartitionState], refused: &[&str], rules: &Rules, start: Option<i64>) -> Vec<(String, Kind)> {
        let asked =
            Asked { flow: false, rules, sequence_start: start, is_text: false, is_compared: &|topic| topic != "z" };
        let partitions = states.iter().map(|state| (state, None));
        let all = not_checked(partitions, refused.iter().copied(), &asked);
        all.iter().flat_map(|m| m.kinds.iter().map(|&kind| (m.topic.clone(), kind))).collect()
    }

    use Kind::{Burst, DimensionalLoss, PeriodicLoss, RetryComb};

    /// What a flow alone can show.
    const FLOW: [Kind; 3] = [Kind::MissingStage, Kind::UnexpectedRecord, Kind::StageMismatch];

    fn on(topic: &str, kinds: &[Kind]) -> Vec<(String, Kind)> {
        kinds.iter().map(|&kind| (topic.to_owned(), kind)).collect()
    }

    #[test]
    fn what_was_not_read_was_not_checked_at_all() {
        let rules = Rules::default();
        assert_eq!(missed(&[state("a", 0, 0)], &[], &rules, None), on("a", &Kind::of_audits().collect::<Vec<_>>()));
        assert_eq!(missed(&[], &["b"], &rules, None), on("b", &Kind::of_audits().collect::<Vec<_>>()));
        // Two of three partitions were read.
        let read = missed(&[state("a", 10, 1)], &["a"], &rules, None);
        let by_producer = [Kind::HeadLoss, Kind::TailLoss, Kind::Reorder, Kind::Conflict];
        assert_eq!(read, on("a", &[&by_producer[..], &FLOW, &[PeriodicLoss, Burst, RetryComb]].concat()));
    }

    #[test]
    fn loss_and_repetition_need_numbers_or_identities() {
        use Kind::{Conflict, Duplicate, HeadLoss, Reorder, SequenceGap, TailLoss};
        let anonymous = [state("a", 10, 0)];
        let none = Rules::default();
        let all = [SequenceGap, HeadLoss, TailLoss, Reorder, Duplicate, Conflict];
        let lossless = [DimensionalLoss, PeriodicLoss, Burst];
        let with = |some: &[Kind], more: &[Kind]| on("a", &[some, &FLOW, more].concat());
        assert_eq!(
            missed(&anonymous, &[], &none, None),
            with(&all, &[DimensionalLoss, PeriodicLoss, Burst, RetryComb])
        );

        let id = Rules { id: Some(Spec::Key), ..Rules::default() };
        assert_eq!(missed(&anonymous, &[], &id, None), with(&[SequenceGap, HeadLoss, TailLoss, Reorder], &lossless));

        let numbered = Rules { session: Some(Spec::Key), sequence: Some(Spec::Key), ..Rules::default() };
        assert_eq!(missed(&anonymous, &[], &numbered, None), with(&[HeadLoss, TailLoss], &[]));
        let ended = Rules { sequence_end: Some(Spec::Key), ..numbered };
        assert_eq!(missed(&anonymous, &[], &ended, Some(0)), with(&[], &[]));

        let mut misfits = state("a", 10, 0);
        misfits.unidentified = 10;
        assert_eq!(missed(&[misfits], &[], &ended, Some(0)), with(&all, &lossless));

        // One topic more than are compared.
        let beyond = missed(&[state("z", 10, 1)], &[], &ended, Some(0));
        assert_eq!(beyond, on("z", &[&FLOW[..], &[DimensionalLoss]].concat()));
    }
}
