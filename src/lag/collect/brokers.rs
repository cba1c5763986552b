//! Connections to every broker of a cluster, each asked by a thread of its own so that a slow one delays no other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::messages::metadata_response::MetadataResponse;

use crate::source::SourceError;
use crate::source::kafka::cluster::{METADATA, address};
use crate::source::kafka::{Config, Connection, Request};

/// A round must not wait longer for one broker.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// How long a broker that could not be reached is left alone, and how long at most.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// One broker, connected when it is needed.
pub struct Broker {
    pub id: i32,
    address: String,
    config: Arc<Config>,
    connection: Option<Connection>,
    /// Not tried again before this moment; doubles with every failure.
    retry_at: Option<Instant>,
    pause: Duration,
    pub requests: u64,
}

impl Broker {
    fn new(id: i32, address: String, config: Arc<Config>) -> Self {
        Self { id, address, config, connection: None, retry_at: None, pause: FIRST_PAUSE, requests: 0 }
    }

    fn connection(&mut self) -> Result<&mut Connection, SourceError> {
        if self.connection.as_ref().is_some_and(Connection::is_expiring) {
            self.connection = None;
        }
        if self.connection.is_none() {
            if self.retry_at.is_some_and(|at| Instant::now() < at) {
                return Err(SourceError::Connect {
                    what: format!("broker {} at {}", self.id, self.address),
                    why: "it could not be reached a moment ago".to_owned(),
                    hint: "it is tried again soon".to_owned(),
                });
            }
            match Connection::open(&self.address, &self.config) {
                Ok(connection) => {
                    self.connection = Some(connection);
                    (self.retry_at, self.pause) = (None, FIRST_PAUSE);
                }
                Err(error) => {
                    self.retry_at = Some(Instant::now() + self.pause);
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                    return Err(error);
                }
            }
        }
        self.connection.as_mut().ok_or_else(|| SourceError::NotFound("no connection".to_owned()))
    }

    /// Asks; a connection that was lost while idle is opened anew, once.
    pub fn call<R: Request>(&mut self, request: &R, most: i16) -> Result<R::Response, SourceError> {
        let had_one = self.connection.is_some();
        self.requests += 1;
        match self.connection()?.call(request, most) {
            Err(SourceError::Io { .. }) if had_one => {
                self.connection = None;
                let again = self.connection()?.call(request, most);
                self.forget_after(again)
            }
            answer => self.forget_after(answer),
        }
    }

    fn forget_after<T>(&mut self, answer: Result<T, SourceError>) -> Result<T, SourceError> {
        if matches!(answer, Err(SourceError::Io { .. } | SourceError::Connect { .. })) {
            self.connection = None;
        }
        answer
    }

    /// Highest version of a request both sides know; `None` when there is none or the broker cannot be reached.
    pub fn version<R: Request>(&mut self, most: i16) -> Option<i16> {
        self.connection().ok()?.version::<R>(most)
    }
}

pub struct Brokers {
    config: Arc<Config>,
    all: BTreeMap<i32, Broker>,
    /// Requests to brokers that have left.
    former: u64,
}

impl Brokers {
    pub fn new(mut config: Config) -> Self {
        config.connect_timeout = config.connect_timeout.min(CONNECT_WITHIN);
        config.request_timeout = config.request_timeout.min(ANSWER_WITHIN);
        Self { config: Arc::new(config), all: BTreeMap::new(), former: 0 }
    }

    /// Asks any broker for all topics, and learns where the brokers are.
    pub fn metadata(&mut self) -> Result<MetadataResponse, SourceError> {
        let request = MetadataRequest::default().with_topics(None).with_allow_auto_topic_creation(false);
        let mut last = None;
        for broker in self.all.values_mut() {
            match broker.call(&request, METADATA) {
                Ok(answer) => return Ok(self.learn(answer)),
                Err(error @ SourceError::Authenticate { .. }) => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        for address in &self.config.brokers {
            match Connection::open(address, &self.config).and_then(|mut first| first.call(&request, METADATA)) {
                Ok(answer) => return Ok(self.learn(answer)),
                Err(error @ SourceError::Authenticate { .. }) => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| SourceError::NotFound("no broker is named; give -b HOST:PORT".to_owned())))
    }

    fn learn(&mut self, answer: MetadataResponse) -> MetadataResponse {
        let requests = self.requests();
        let mut before = std::mem::take(&mut self.all);
        for broker in &answer.brokers {
            let id = broker.node_id.0;
            let address = address(&broker.host, broker.port);
            let known = before.remove(&id).filter(|known| known.address == address);
            let broker = known.unwrap_or_else(|| Broker::new(id, address, self.config.clone()));
            self.all.insert(id, broker);
        }
        self.former = 0;
        self.former = requests - self.requests();
        answer
    }

    /// Runs `work` for each broker at the same time.
    pub fn each<T: Send>(&mut self, work: impl Fn(&mut Broker) -> T + Sync) -> Vec<T> {
        let work = &work;
        std::thread::scope(|scope| {
            let asked: Vec<_> = self.all.values_mut().map(|broker| scope.spawn(move || work(broker))).collect();
            // A panic of ours is passed on as one.
            asked
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        })
    }

    /// What the first broker that can tell says.
    pub fn any<T>(&mut self, work: impl FnMut(&mut Broker) -> Option<T>) -> Option<T> {
        self.all.values_mut().find_map(work)
    }

    /// Of all times; never falls.
    pub fn requests(&self) -> u64 {
        self.former + self.all.values().map(|broker| broker.requests).sum::<u64>()
    }
}
