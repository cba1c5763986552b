//! A plan sent to a cluster through librdkafka: one producer for each session, so that producer ids and sequences are
//! as independent as those of real services.
//!
//! The order of each session is kept (idempotence, or one request in flight). Sessions that share a partition
//! interleave freely, but only within a quarter of the waiting time of the records: else one session would run ahead
//! of another in the records' own time, and make its gaps look overdue.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use super::GenerateError;
use super::fault::FaultKind;
use super::pace::AbortPacer;
use super::plan::{Plan, Planned};
use super::truth::{Mark, Position, Truth};
use crate::source::Properties;

mod topic;

const PATIENCE: Duration = Duration::from_secs(120);
/// Records between two looks at the delivery reports.
const LOOK_EVERY: u64 = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No producer id; acks=all, one request in flight.
    Plain,
    Idempotent,
    /// So many records of a session in one transaction.
    Transactional {
        records: u32,
    },
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub properties: Properties,
    pub mode: Mode,
    /// Create the topic when it is absent.
    pub create_topic: bool,
    /// −1: the broker's default.
    pub replication: i32,
    pub topic_config: Vec<(String, String)>,
    /// Records a second; 0: as fast as it goes.
    pub rate: u64,
    /// Each record is sent when its own time has come, whatever the rate.
    pub live: bool,
}

impl Settings {
    pub fn new(properties: Properties) -> Self {
        Self {
            properties,
            mode: Mode::Idempotent,
            create_topic: true,
            replication: -1,
            topic_config: Vec::new(),
            rate: 0,
            live: false,
        }
    }
}

/// Sends the whole plan, waits for every delivery report, and returns the truth with the real offsets. `progress` is
/// told now and then how many records were handed over.
pub fn send(mut plan: Plan, settings: &Settings, progress: &mut dyn FnMut(u64)) -> Result<Truth, GenerateError> {
    let mut aborts = check_mode(&plan, settings.mode)?;
    for topic in plan.topics() {
        topic::prepare(topic, plan.partitions(), settings)?;
    }

    let reports = Reports::default();
    // A flow's worker comes after the sessions.
    let sessions = (0..plan.producers()).map(|session| (0, session));
    let workers = (1..plan.topics().len()).map(|stage| (stage, plan.producers()));
    let mut senders = sessions
        .chain(workers)
        .map(|(stage, session)| Sender::new(&plan.topics()[stage], session, settings, reports.clone()))
        .collect::<Result<Vec<_>, _>>()?;
    let window_ms = (plan.wait_ms() / 4).max(1) as i64;
    let mut barrier = None;
    let mut pace = Pace { rate: settings.rate, live: settings.live, start: Instant::now(), first: None };
    let mut sent = 0u64;
    while let Some(record) = plan.next() {
        let timestamp = record.timestamp;
        if plan.shares_partitions() && timestamp >= *barrier.get_or_insert(timestamp + window_ms) {
            finish(&mut senders, &mut plan, &aborts)?;
            barrier = Some(timestamp + window_ms);
        }
        let sender = &mut senders[record.session as usize];
        sender.take(record, &mut aborts)?;
        if sender.is_full() {
            sender.finish(&mut plan, &aborts)?;
        }
        sent += 1;
        pace.keep(sent, timestamp);
        if sent.is_multiple_of(LOOK_EVERY) {
            senders.iter().for_each(|sender| sender.producer.poll(Duration::ZERO));
            reports.check()?;
            progress(sent);
        }
    }
    finish(&mut senders, &mut plan, &aborts)?;
    progress(sent);
    for (mark, position) in reports.take_positions() {
        plan.position(mark, position);
    }
    Ok(plan.into_truth())
}

fn check_mode(plan: &Plan, mode: Mode) -> Result<Option<AbortPacer>, GenerateError> {
    let aborts = plan.abort_pacer();
    match mode {
        Mode::Transactional { records: 0 } => {
            Err(GenerateError::Mode("a transaction needs at least one record".to_owned()))
        }
        Mode::Plain | Mode::Idempotent if aborts.is_some() => Err(GenerateError::Mode(format!(
            "{} needs transactions; choose transactional mode, or leave it out",
            FaultKind::AbortTransaction(1.0).name()
        ))),
        _ => Ok(aborts),
    }
}

/// Everything handed over so far is in the topic, and no transaction is open.
fn finish(senders: &mut [Sender], plan: &mut Plan, aborts: &Option<AbortPacer>) -> Result<(), GenerateError> {
    senders.iter_mut().try_for_each(|sender| sender.finish(plan, aborts))
}

/// One session's producer.
struct Sender {
    topic: String,
    producer: BaseProducer<Reports>,
    reports: Reports,
    /// Records of a transaction; absent without transactions.
    limit: Option<u32>,
    open: u32,
    /// The open transaction's records, when it is to be aborted and sent again.
    doomed: Option<Vec<Planned>>,
}

impl Sender {
    fn new(topic: &str, session: u32, settings: &Settings, reports: Reports) -> Result<Self, GenerateError> {
        let mut config = ClientConfig::new();
        config.set("acks", "all").set("linger.ms", "5").extend(settings.properties.clone());
        let limit = match settings.mode {
            Mode::Plain => {
                config.set("enable.idempotence", "false").set("max.in.flight.requests.per.connection", "1");
                None
            }
            Mode::Idempotent => {
                config.set("enable.idempotence", "true");
                None
            }
            Mode::Transactional { records } => {
                config.set("transactional.id", format!("sordini-generate-{topic}-p{session}"));
                Some(records)
            }
        };
        let producer: BaseProducer<Reports> = config
            .create_with_context(reports.clone())
            .map_err(kafka("cannot set up a producer", "check the -X properties"))?;
        if limit.is_some() {
            producer.init_transactions(PATIENCE).map_err(kafka(
                "cannot begin transactions",
                "check that the cluster supports them and permits the transactional id",
            ))?;
        }
        Ok(Self { topic: topic.to_owned(), producer, reports, limit, open: 0, doomed: None })
    }

    fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.open >= limit)
    }

    fn take(&mut self, record: Planned, aborts: &mut Option<AbortPacer>) -> Result<(), GenerateError> {
        if self.limit.is_some() && self.open == 0 {
            self.doomed = aborts.as_mut().is_some_and(AbortPacer::is_doomed).then(Vec::new);
            self.begin()?;
        }
        self.open += 1;
        match &mut self.doomed {
            Some(kept) => kept.push(record),
            None => self.hand_over(&record, record.mark)?,
        }
        Ok(())
    }

    /// Waits for the delivery of all that was handed over, and ends the open transaction.
    fn finish(&mut self, plan: &mut Plan, aborts: &Option<AbortPacer>) -> Result<(), GenerateError> {
        if let (Some(records), Some(aborts)) = (self.doomed.take(), aborts) {
            // Flushed first, so that the aborted attempt really lies in the log.
            records.iter().try_for_each(|record| self.hand_over(record, None))?;
            self.flush()?;
            self.producer
                .abort_transaction(PATIENCE)
                .map_err(kafka("cannot abort a transaction", "send to a new topic"))?;
            plan.transaction_aborted(aborts);
            self.begin()?;
            records.iter().try_for_each(|record| self.hand_over(record, record.mark))?;
        }
        self.flush()?;
        if self.limit.is_some() && self.open > 0 {
            self.producer
                .commit_transaction(PATIENCE)
                .map_err(kafka("cannot commit a transaction", "send to a new topic"))?;
        }
        self.open = 0;
        Ok(())
    }

    fn begin(&self) -> Result<(), GenerateError> {
        self.producer.begin_transaction().map_err(kafka("cannot begin a transaction", "send to a new topic"))
    }

    /// Waits for every delivery report. Not `Producer::flush`: that waits in tenths of a second, and sessions that share
    /// partitions come here often.
    fn flush(&self) -> Result<(), GenerateError> {
        let give_up = Instant::now() + PATIENCE;
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(Duration::from_millis(2));
            self.reports.check()?;
            if Instant::now() >= give_up {
                return Err(GenerateError::Delivery(format!(
                    "records were not acknowledged within {} seconds",
                    PATIENCE.as_secs()
                )));
            }
        }
        self.reports.check()
    }

    /// Waits while the producer's queue is full.
    fn hand_over(&self, record: &Planned, mark: Option<Mark>) -> Result<(), GenerateError> {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new_with_capacity(record.headers.len()), |headers, (key, value)| {
                headers.insert(Header { key, value: Some(value) })
            });
        let tracked = mark.map_or(0, |mark| self.reports.track(mark));
        let mut message = BaseRecord::with_opaque_to(&self.topic, tracked)
            .partition(record.partition)
            .timestamp(record.timestamp)
            .key(&record.key)
            .headers(headers);
        message.payload = record.value.as_ref();
        let give_up = Instant::now() + PATIENCE;
        loop {
            match self.producer.send(message) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) if Instant::now() < give_up => {
                    message = back;
                    self.producer.poll(Duration::from_millis(5));
                    self.reports.check()?;
                }
                Err((error, _)) => {
                    return Err(kafka("cannot hand over a record", "check the value size and the -X properties")(
                        error,
                    ));
                }
            }
        }
    }
}

fn kafka(what: &str, hint: &'static str) -> impl FnOnce(KafkaError) -> GenerateError {
    let what = what.to_owned();
    move |source| GenerateError::Kafka { what, source, hint }
}

/// What the brokers reported: positions of marked records, and the first failure.
#[derive(Clone, Default)]
struct Reports(Arc<Mutex<Reported>>);

#[derive(Default)]
struct Reported {
    marks: Vec<Mark>,
    positions: Vec<(Mark, Position)>,
    failure: Option<String>,
}

impl Reports {
    /// A name for the mark that fits through librdkafka; 0 stands for a record nobody asks about.
    fn track(&self, mark: Mark) -> usize {
        self.with(|reported| {
            reported.marks.push(mark);
            reported.marks.len()
        })
    }

    fn check(&self) -> Result<(), GenerateError> {
        self.with(|reported| reported.failure.clone()).map_or(Ok(()), |why| Err(GenerateError::Delivery(why)))
    }

    fn take_positions(&self) -> Vec<(Mark, Position)> {
        self.with(|reported| std::mem::take(&mut reported.positions))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Reported) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, tracked: usize) {
        match result {
            Ok(_) if tracked == 0 => {}
            Ok(message) => self.with(|reported| {
                let position = Position { partition: message.partition(), offset: message.offset() };
                reported.positions.push((reported.marks[tracked - 1], position));
            }),
            Err((error, message)) => self.with(|reported| {
                reported.failure.get_or_insert_with(|| {
                    format!("a record for {}[{}] was not delivered: {error}", message.topic(), message.partition())
                });
            }),
        }
    }
}

/// Keeps to the rate asked for, or to the records' own times.
struct Pace {
    rate: u64,
    live: bool,
    start: Instant,
    /// Time of the first record.
    first: Option<i64>,
}

impl Pace {
    fn keep(&mut self, sent: u64, timestamp: i64) {
        let first = *self.first.get_or_insert(timestamp);
        let due = match (self.live, self.rate) {
            (true, _) => Duration::from_millis((timestamp - first).max(0) as u64),
            (false, 0) => return,
            (false, rate) => Duration::from_secs_f64(sent as f64 / rate as f64),
        };
        let ahead = due.saturating_sub(self.start.elapsed());
        // Short waits are saved up: a sleep takes a millisecond or so however short it is.
        if ahead > Duration::from_millis(5) {
            thread::sleep(ahead);
        }
    }
}

#[cfg(test)]
mod tests;
