//! The fetch loop of one thread: which partition is asked of which broker, when, and what to do when it fails.
//!
//! The next request goes out as soon as the headers of an answer tell where it goes on, and only then is the answer
//! handed over: the broker works while the records are checked. A reader keeps its partitions for the whole run and
//! follows them when their leaders change, so it may talk to several brokers, one after the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kafka_protocol::messages::FetchRequest;

use super::cluster::{Cluster, Leader, Spot, Standing};
use super::config::Config;
use super::connection::{Connection, FrameBuffer};
use super::errors::KafkaError;
use super::fetch::{self, Part, Places, Terms};
use super::lane::{Lane, Manner};
use super::locked;
use super::patience::{POLL, patiently};
use super::walk::look_ahead;
use crate::source::{Event, Reader, Sink, SourceError};
use crate::wire::Scratch;

/// How long a broker may wait for records when the run is bounded, or when other brokers wait for their turn.
const SHORT_WAIT: Duration = Duration::from_millis(50);
/// What one partition may bring at least.
const LEAST_SHARE: i32 = 1 << 20;

/// The control connections, shared by the readers.
pub type SharedCluster = Arc<Mutex<Cluster>>;

/// A connection that fetches, with the request on its way.
struct Link {
    connection: Connection,
    address: String,
    version: i16,
    /// Two, since one is filled while nothing may borrow from it and the other is handed over.
    buffers: [FrameBuffer; 2],
    asked: Option<Asked>,
    /// A broker that is asked too much says how long to leave it alone.
    quiet_until: Instant,
}

/// A request on its way: the offset asked for of each lane, and the lane asked for first.
struct Asked {
    offsets: HashMap<usize, i64>,
    first: usize,
}

pub struct FetchReader {
    config: Arc<Config>,
    cluster: SharedCluster,
    manner: Manner,
    lanes: Vec<Lane>,
    places: Places,
    links: HashMap<i32, Link>,
    answers: u64,
    scratch: Scratch,
}

impl FetchReader {
    pub fn new(config: Arc<Config>, cluster: SharedCluster, lanes: Vec<Lane>, manner: Manner) -> Self {
        let places = Places::new(lanes.iter().map(|lane| &lane.at.info));
        let (links, scratch) = (HashMap::new(), Scratch::new(config.max_batch_bytes));
        Self { config, cluster, manner, lanes, places, links, answers: 0, scratch }
    }

    /// Asks the cluster about every partition that lost its leader and may be tried again.
    fn find_leaders(&mut self, sink: &mut dyn Sink) {
        let now = Instant::now();
        let lost: Vec<usize> = self.lanes_where(|lane| lane.leader.is_none() && lane.is_ready(now));
        let mut topics: Vec<Arc<str>> = lost.iter().map(|&lane| self.lanes[lane].at.info.topic.clone()).collect();
        topics.sort();
        topics.dedup();
        if topics.is_empty() {
            return;
        }
        let spots: Vec<Spot> = lost.iter().map(|&lane| self.spot(lane)).collect();
        let ask = move |cluster: &mut Cluster| {
            let standings = cluster.refresh(&topics)?;
            let leaders: Vec<_> = spots.iter().map(|(topic, partition)| cluster.leader(topic, *partition)).collect();
            Ok((standings, leaders))
        };
        match self.of_cluster(sink, ask) {
            None => {}
            Some(Err(error)) => {
                for lane in lost {
                    self.lanes[lane].stumble(&error.to_string(), self.manner, sink);
                }
            }
            Some(Ok((standings, leaders))) => {
                for (lane, leader) in lost.into_iter().zip(leaders) {
                    let standing = standings.get(&self.lanes[lane].at.info.topic).copied();
                    if self.is_still_there(lane, standing, sink) {
                        self.follow_leader(lane, leader, sink);
                    }
                }
            }
        }
    }

    fn follow_leader(&mut self, lane: usize, leader: Option<Leader>, sink: &mut dyn Sink) {
        let lane = &mut self.lanes[lane];
        match leader {
            Some(leader) => lane.leader = Some(leader),
            None => lane.stumble(&KafkaError::LEADER_NOT_AVAILABLE.advice(), self.manner, sink),
        }
    }

    /// Whether the name still stands for the topic that is read; if not, this has been said.
    fn is_still_there(&mut self, lane: usize, standing: Option<Standing>, sink: &mut dyn Sink) -> bool {
        let lane = &mut self.lanes[lane];
        match standing {
            Some(Standing::Gone) => lane.end(Event::TopicGone { now: None }, sink),
            Some(Standing::Exists(Some(now))) if lane.at.info.topic_id.is_some_and(|id| id != now) => {
                lane.end(Event::TopicGone { now: Some(now) }, sink);
            }
            Some(Standing::Unclear(error)) if !error.is_transient() => {
                lane.end(Event::Failed { why: error.advice() }, sink);
            }
            Some(Standing::Unclear(_) | Standing::Exists(_)) | None => return true,
        }
        false
    }

    /// Opens a connection to every leader that is to be asked and has none; closes those that lead nothing any more.
    fn open_links(&mut self, sink: &mut dyn Sink) {
        let now = Instant::now();
        let (lanes, links) = (&self.lanes, &mut self.links);
        let leads = |lane: &Lane, id: i32| !lane.is_done && lane.leader.as_ref().is_some_and(|leader| leader.id == id);
        links.retain(|&id, link| link.asked.is_some() || lanes.iter().any(|lane| leads(lane, id)));
        let of_lane = |lane: &Lane| lane.leader.clone().filter(|_| lane.is_ready(now));
        let leaders: HashMap<i32, String> =
            self.lanes.iter().filter_map(of_lane).map(|leader| (leader.id, leader.address)).collect();
        for (id, address) in leaders {
            let is_usable =
                |link: &Link| link.asked.is_some() || !link.connection.is_expiring() && link.address == address;
            if self.links.get(&id).is_some_and(is_usable) {
                continue;
            }
            let (config, to) = (self.config.clone(), address.clone());
            let newest = fetch::newest_version(self.places.topics_have_ids());
            let opened = patiently(sink, move || {
                let connection = Connection::open(&to, &config)?;
                let version = connection.version::<FetchRequest>(newest);
                let version = version.ok_or_else(|| connection.unknown_request::<FetchRequest>())?;
                Ok((connection, version))
            });
            match opened {
                None => return,
                Some(Err(error)) => self.lose_link(id, &error, sink),
                Some(Ok((connection, version))) => {
                    tracing::debug!(broker = connection.broker(), version, "fetching");
                    let buffers = Default::default();
                    self.links
                        .insert(id, Link { connection, address, version, buffers, asked: None, quiet_until: now });
                }
            }
        }
    }

    fn lose_link(&mut self, id: i32, error: &SourceError, sink: &mut dyn Sink) {
        self.links.remove(&id);
        for lane in self.lanes_where(|lane| lane.leader.as_ref().is_some_and(|leader| leader.id == id)) {
            self.lanes[lane].ahead = None;
            self.lanes[lane].is_held = false;
            self.lanes[lane].stumble(&error.to_string(), self.manner, sink);
        }
    }

    /// Sends a request for every partition of this leader that is ready, unless one is on its way.
    fn ask(&mut self, id: i32) -> Result<(), SourceError> {
        let now = Instant::now();
        let is_one_of_many = self.links.len() > 1;
        let mut lanes =
            self.lanes_where(|lane| lane.leader.as_ref().is_some_and(|leader| leader.id == id) && lane.is_ready(now));
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        if link.asked.is_some() || now < link.quiet_until || link.connection.is_expiring() {
            return Ok(());
        }
        lanes.sort_by_key(|&lane| self.lanes[lane].served);
        let Some(&first) = lanes.first() else { return Ok(()) };
        let share = (self.config.fetch_max_bytes / 2 / lanes.len() as i32).max(LEAST_SHARE);
        let wants: Vec<_> = lanes.iter().map(|&lane| self.lanes[lane].want(share)).collect();
        let wait = if self.manner.follow && !is_one_of_many { self.config.fetch_wait } else { SHORT_WAIT };
        let terms = Terms {
            isolation: self.manner.isolation,
            max_wait_ms: wait.min(self.config.fetch_wait).as_millis() as i32,
            max_bytes: wants.iter().map(|want| want.max_bytes).fold(self.config.fetch_max_bytes, i32::max),
        };
        link.connection.send(&fetch::request(&wants, terms, link.version), link.version)?;
        let offsets = lanes.iter().zip(&wants).map(|(&lane, want)| (lane, want.offset)).collect();
        link.asked = Some(Asked { offsets, first });
        Ok(())
    }

    /// Takes the answer of one leader. Returns whether there was one to wait for.
    fn hear(&mut self, id: i32, sink: &mut dyn Sink) -> Result<bool, SourceError> {
        let Some(link) = self.links.get_mut(&id) else { return Ok(false) };
        let Some(asked) = link.asked.take() else { return Ok(false) };
        link.buffers.swap(0, 1);
        let frame = link.connection.receive(&mut link.buffers[0], &|| sink.stopped())?;
        let answer = link.connection.decode::<FetchRequest>(frame, link.version)?;
        let by_name = fetch::is_by_name(link.version);
        if answer.throttle_time_ms > 0 {
            tracing::debug!(broker = %link.address, ms = answer.throttle_time_ms, "the broker throttles");
            link.quiet_until = Instant::now() + Duration::from_millis(answer.throttle_time_ms as u64);
        }
        if let Some(error) = KafkaError::from_code(answer.error_code) {
            return Err(SourceError::Protocol { what: format!("fetching from {}", link.address), why: error.advice() });
        }
        let mut parts = self.places.parts(answer, link.version);
        parts.retain(|(lane, _)| {
            let (number, lane) = (lane, &self.lanes[*lane]);
            !lane.is_done && asked.offsets.get(number) == Some(&lane.at.position)
        });
        self.look_ahead(&parts);
        // Without the next request the answer can still be used; the connection shows its trouble at the next turn.
        let sent = self.ask(id);
        self.deliver(parts, asked, by_name, sink);
        sent.map(|()| true)
    }

    /// Tells every lane of an answer where its next request begins, or that this is not clear yet.
    fn look_ahead(&mut self, parts: &[(usize, Part)]) {
        for (lane, part) in parts {
            let lane = &mut self.lanes[*lane];
            let is_plain = part.outcome.is_ok() && part.diverging.is_none();
            lane.ahead = Some(&part.records)
                .filter(|records| is_plain && !records.is_empty())
                .and_then(|records| look_ahead(records, lane.at.position));
            // At the end of a bounded run, or in trouble, the part itself decides whether to go on.
            let is_idle = is_plain && part.records.is_empty() && self.manner.follow;
            lane.is_held = lane.ahead.is_none() && !is_idle;
        }
    }

    fn deliver(&mut self, parts: Vec<(usize, Part)>, mut asked: Asked, by_name: bool, sink: &mut dyn Sink) {
        let is_empty = parts.iter().all(|(_, part)| part.records.is_empty());
        self.answers += 1;
        for (number, part) in parts {
            asked.offsets.remove(&number);
            let lane = &mut self.lanes[number];
            (lane.ahead, lane.is_held) = (None, false);
            match (part.outcome, part.diverging) {
                (Err(error), _) => self.refused(number, error, by_name, sink),
                (Ok(()), Some((epoch, end_offset))) => self.diverged(number, epoch, end_offset, by_name, sink),
                (Ok(()), None) => {
                    if !part.records.is_empty() {
                        lane.served = self.answers;
                    }
                    let is_alone = is_empty && number == asked.first;
                    lane.take(&part, is_alone, self.manner, &mut self.scratch, sink);
                }
            }
            if sink.stopped() {
                return;
            }
        }
        for (number, offset) in asked.offsets {
            let lane = &mut self.lanes[number];
            if !lane.is_done && lane.at.position == offset {
                lane.stumble("the broker left the partition out of its answer", self.manner, sink);
            }
        }
    }

    fn refused(&mut self, number: usize, error: KafkaError, by_name: bool, sink: &mut dyn Sink) {
        let lane = &mut self.lanes[number];
        match error {
            KafkaError::OFFSET_OUT_OF_RANGE => self.out_of_range(number, by_name, sink),
            // The leader is asked for anew, and with it whether the topic is still there.
            KafkaError::UNKNOWN_TOPIC | KafkaError::UNKNOWN_TOPIC_ID | KafkaError::INCONSISTENT_TOPIC_ID => {
                lane.stumble(&error.advice(), self.manner, sink);
            }
            error if error.is_transient() => lane.stumble(&error.advice(), self.manner, sink),
            error => lane.end(Event::Failed { why: error.advice() }, sink),
        }
    }

    /// By name, a topic that was made anew looks exactly like a truncated one.
    fn diverged(&mut self, number: usize, epoch: i32, end_offset: i64, by_name: bool, sink: &mut dyn Sink) {
        if !by_name || self.is_confirmed(number, sink) {
            self.lanes[number].diverge(epoch, end_offset, self.manner, sink);
        }
    }

    fn out_of_range(&mut self, number: usize, by_name: bool, sink: &mut dyn Sink) {
        if by_name && !self.is_confirmed(number, sink) {
            return;
        }
        let spot = self.spot(number);
        let asked = spot.clone();
        let range = self.of_cluster(sink, move |cluster| Ok(cluster.log_ranges(&[asked]).remove(&spot)));
        let lane = &mut self.lanes[number];
        match range {
            None => {}
            Some(Ok(Some(Ok(range)))) => lane.out_of_range(range, self.manner, sink),
            Some(Ok(Some(Err(error)))) => lane.stumble(&error.advice(), self.manner, sink),
            Some(Ok(None)) => lane.stumble(&KafkaError::OFFSET_OUT_OF_RANGE.advice(), self.manner, sink),
            Some(Err(error)) => lane.stumble(&error.to_string(), self.manner, sink),
        }
    }

    /// Whether the topic that is read still has its name. If not, or if nobody can tell now, this has been dealt with.
    fn is_confirmed(&mut self, number: usize, sink: &mut dyn Sink) -> bool {
        let topic = self.lanes[number].at.info.topic.clone();
        match self.of_cluster(sink, move |cluster| Ok(cluster.refresh(std::slice::from_ref(&topic))?.remove(&topic))) {
            None => false,
            Some(Ok(Some(Standing::Unclear(error)))) if error.is_transient() => {
                self.lanes[number].stumble(&error.advice(), self.manner, sink);
                false
            }
            Some(Ok(standing)) => self.is_still_there(number, standing, sink),
            Some(Err(error)) => {
                self.lanes[number].stumble(&error.to_string(), self.manner, sink);
                false
            }
        }
    }

    fn lanes_where(&self, holds: impl Fn(&Lane) -> bool) -> Vec<usize> {
        (0..self.lanes.len()).filter(|&lane| holds(&self.lanes[lane])).collect()
    }

    fn spot(&self, lane: usize) -> Spot {
        let info = &self.lanes[lane].at.info;
        (info.topic.clone(), info.partition)
    }

    /// Asks the cluster something; `None` when told to stop meanwhile.
    fn of_cluster<T: Send + 'static>(
        &self,
        sink: &dyn Sink,
        ask: impl FnOnce(&mut Cluster) -> Result<T, SourceError> + Send + 'static,
    ) -> Option<Result<T, SourceError>> {
        let cluster = self.cluster.clone();
        patiently(sink, move || ask(&mut locked(&cluster)))
    }

    /// Until something may be tried again, at most until the wish to stop has to be looked at.
    fn pause(&self) {
        let now = Instant::now();
        let lanes = self.lanes.iter().filter(|lane| !lane.is_done).filter_map(Lane::again_at);
        let next = lanes.chain(self.links.values().map(|link| link.quiet_until)).filter(|&at| at > now).min();
        std::thread::sleep(next.map_or(POLL, |at| at - now).min(POLL));
    }
}

impl Reader for FetchReader {
    fn run(&mut self, sink: &mut dyn Sink) -> Result<(), SourceError> {
        while !sink.stopped() && !self.lanes.iter().all(|lane| lane.is_done) {
            self.find_leaders(sink);
            self.open_links(sink);
            let mut has_heard = false;
            let ids: Vec<i32> = self.links.keys().copied().collect();
            for &id in &ids {
                if let Err(error) = self.ask(id) {
                    self.lose_link(id, &error, sink);
                }
            }
            for id in ids {
                match self.hear(id, sink) {
                    Ok(heard) => has_heard |= heard,
                    Err(_) if sink.stopped() => return Ok(()),
                    Err(error) => self.lose_link(id, &error, sink),
                }
            }
            if !has_heard {
                self.pause();
            }
        }
        Ok(())
    }
}
