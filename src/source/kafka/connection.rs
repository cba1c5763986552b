//! One framed connection to one broker: `length, header, body` each way, one request at a time. It authenticates and
//! knows which versions the broker speaks; what requests are about it must not know.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
    DescribeConfigsRequest, DescribeConfigsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeShareGroupOffsetsRequest,
    DescribeShareGroupOffsetsResponse, FetchRequest, FetchResponse, ListGroupsRequest, ListGroupsResponse,
    ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetFetchRequest,
    OffsetFetchResponse, RequestHeader, ResponseHeader, SaslAuthenticateRequest, SaslAuthenticateResponse,
    SaslHandshakeRequest, SaslHandshakeResponse, ShareGroupDescribeRequest, ShareGroupDescribeResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, StrBytes};

use super::config::{Config, SaslConfig};
use super::errors::KafkaError;
use super::sasl::Exchange;
use super::transport::{Transport, is_quiet};
use crate::source::SourceError;

/// Largest frame taken for one: far above any answer that was asked for.
const LARGEST_FRAME: usize = 1 << 30;
/// Largest frame before the broker has proved to be one: another protocol's first bytes read as a longer one.
const LARGEST_GREETING: usize = 1 << 20;
/// How long one read waits before the caller's wish to stop is looked at.
const POLL: Duration = Duration::from_millis(250);

/// The memory of answers, used again once nothing borrows from the last one.
#[derive(Default)]
pub struct FrameBuffer {
    /// Everything initialised so far; an answer is a slice of its start.
    memory: Bytes,
}

impl FrameBuffer {
    fn take(&mut self, length: usize) -> BytesMut {
        match std::mem::take(&mut self.memory).try_into_mut() {
            Ok(memory) if memory.len() >= length => memory,
            // A little more than needed: the next answer is hardly ever of the same size.
            _ => BytesMut::zeroed(length + length / 8),
        }
    }

    fn keep(&mut self, memory: BytesMut, length: usize) -> Bytes {
        self.memory = memory.freeze();
        self.memory.slice(..length)
    }
}

/// A request, with its answer. (The crate's own trait of this kind asks for the broker's half of the codec as well.)
pub trait Request: Encodable + Message + HeaderVersion {
    const KEY: ApiKey;
    type Response: Decodable + HeaderVersion;
}

macro_rules! requests {
    ($($key:ident: $request:ty => $response:ty),* $(,)?) => {
        $(impl Request for $request {
            const KEY: ApiKey = ApiKey::$key;
            type Response = $response;
        })*
    };
}

requests! {
    ApiVersions: ApiVersionsRequest => ApiVersionsResponse,
    SaslHandshake: SaslHandshakeRequest => SaslHandshakeResponse,
    SaslAuthenticate: SaslAuthenticateRequest => SaslAuthenticateResponse,
    Metadata: MetadataRequest => MetadataResponse,
    ListOffsets: ListOffsetsRequest => ListOffsetsResponse,
    DescribeConfigs: DescribeConfigsRequest => DescribeConfigsResponse,
    DescribeLogDirs: DescribeLogDirsRequest => DescribeLogDirsResponse,
    Fetch: FetchRequest => FetchResponse,
    ListGroups: ListGroupsRequest => ListGroupsResponse,
    DescribeGroups: DescribeGroupsRequest => DescribeGroupsResponse,
    ConsumerGroupDescribe: ConsumerGroupDescribeRequest => ConsumerGroupDescribeResponse,
    ShareGroupDescribe: ShareGroupDescribeRequest => ShareGroupDescribeResponse,
    OffsetFetch: OffsetFetchRequest => OffsetFetchResponse,
    DescribeShareGroupOffsets: DescribeShareGroupOffsetsRequest => DescribeShareGroupOffsetsResponse,
}

pub struct Connection {
    transport: Transport,
    broker: String,
    client_id: StrBytes,
    versions: HashMap<i16, (i16, i16)>,
    correlation: i32,
    timeout: Duration,
    largest: usize,
    /// It has answered something that needs no introduction.
    has_served: bool,
    is_authenticated: bool,
    /// When the broker wants to be told again who this is (`connections.max.reauth.ms`).
    expires: Option<Instant>,
}

impl Connection {
    /// Connects, encrypts, authenticates and asks which requests the broker knows.
    pub fn open(broker: &str, config: &Config) -> Result<Self, SourceError> {
        let mut connection = Self {
            transport: Transport::open(broker, config, POLL)?,
            broker: broker.to_owned(),
            client_id: StrBytes::from_string(config.client_id.clone()),
            versions: HashMap::new(),
            correlation: 0,
            timeout: config.connect_timeout,
            largest: LARGEST_GREETING,
            has_served: false,
            is_authenticated: false,
            expires: None,
        };
        connection.ask_versions().map_err(|error| connection.no_greeting(config, error))?;
        connection.largest = LARGEST_FRAME;
        if let Some(sasl) = &config.sasl {
            connection.authenticate(sasl)?;
        }
        connection.timeout = config.request_timeout;
        tracing::debug!(broker, tls = config.tls.is_some(), sasl = ?config.sasl, "connected");
        Ok(connection)
    }

    pub fn broker(&self) -> &str {
        &self.broker
    }

    /// The session is about to run out: open a new connection instead.
    pub fn is_expiring(&self) -> bool {
        self.expires.is_some_and(|expires| Instant::now() >= expires)
    }

    /// Highest version of a request that both sides know, at most `most`; `None` when there is none.
    pub fn version<R: Request>(&self, most: i16) -> Option<i16> {
        let &(min, max) = self.versions.get(&(R::KEY as i16))?;
        let version = max.min(R::VERSIONS.max).min(most);
        (version >= min.max(R::VERSIONS.min)).then_some(version)
    }

    /// Sends a request in the highest version up to `most` and waits for its answer.
    pub fn call<R: Request>(&mut self, request: &R, most: i16) -> Result<R::Response, SourceError> {
        let version = self.version::<R>(most).ok_or_else(|| self.unknown_request::<R>())?;
        let sent = self.send(request, version);
        let received = sent.and_then(|()| self.receive(&mut FrameBuffer::default(), &|| false));
        let frame = received.map_err(|error| self.no_service(error))?;
        self.decode::<R>(frame, version)
    }

    pub fn unknown_request<R: Request>(&self) -> SourceError {
        let why = format!(
            "it knows no version of {:?} from {} to {}; brokers from Kafka 0.11 on can be read",
            R::KEY,
            R::VERSIONS.min,
            R::VERSIONS.max
        );
        SourceError::Protocol { what: format!("broker {}", self.broker), why }
    }

    pub fn send<R: Request>(&mut self, request: &R, version: i16) -> Result<(), SourceError> {
        self.correlation = self.correlation.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(self.client_id.clone()));
        let mut frame = vec![0; 4];
        header
            .encode(&mut frame, R::header_version(version))
            .and_then(|()| request.encode(&mut frame, version))
            .map_err(|error| SourceError::Protocol {
                what: format!("{:?} version {version} to {}", R::KEY, self.broker),
                why: error.to_string(),
            })?;
        let length = (frame.len() - 4) as u32;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.transport.write_all(&frame).and_then(|()| self.transport.flush()).map_err(|error| self.lost(error))
    }

    /// Receives one frame into memory of `buffer`. `stopped` is looked at while waiting; the connection is of no use
    /// after it said yes.
    pub fn receive(&mut self, buffer: &mut FrameBuffer, stopped: &dyn Fn() -> bool) -> Result<Bytes, SourceError> {
        let mut length = [0; 4];
        self.fill(&mut length, stopped)?;
        let size = u32::from_be_bytes(length) as usize;
        if !(4..=self.largest).contains(&size) {
            return Err(self.not_kafka(length));
        }
        let mut memory = buffer.take(size);
        self.fill(&mut memory[..size], stopped)?;
        Ok(buffer.keep(memory, size))
    }

    /// Fills `buf`; gives up when nothing at all comes for the time allowed.
    fn fill(&mut self, buf: &mut [u8], stopped: &dyn Fn() -> bool) -> Result<(), SourceError> {
        let mut filled = 0;
        let mut heard = Instant::now();
        while filled < buf.len() {
            if stopped() {
                return Err(self.lost(io::Error::new(ErrorKind::Interrupted, "stopped")));
            }
            match self.transport.read(&mut buf[filled..]) {
                Ok(0) => return Err(self.lost(ErrorKind::UnexpectedEof.into())),
                Ok(more) => {
                    filled += more;
                    heard = Instant::now();
                }
                Err(error) if is_quiet(&error) => {
                    if heard.elapsed() >= self.timeout {
                        return Err(self.lost(ErrorKind::TimedOut.into()));
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(error)),
            }
        }
        Ok(())
    }

    /// Header and body of the answer to the last request. Bytes in it are slices of the frame.
    pub fn decode<R: Request>(&mut self, mut frame: Bytes, version: i16) -> Result<R::Response, SourceError> {
        let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version))
            .map_err(|error| self.garbage(error.to_string()))?;
        if header.correlation_id != self.correlation {
            let why = format!("it belongs to request {}, not {}", header.correlation_id, self.correlation);
            return Err(self.garbage(why));
        }
        let answer = R::Response::decode(&mut frame, version).map_err(|error| self.garbage(error.to_string()))?;
        self.has_served |= !matches!(R::KEY, ApiKey::ApiVersions | ApiKey::SaslHandshake);
        Ok(answer)
    }

    fn ask_versions(&mut self) -> Result<(), SourceError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("sordini"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        self.send(&request, 3)?;
        let frame = self.receive(&mut FrameBuffer::default(), &|| false)?;
        let answer = match self.decode::<ApiVersionsRequest>(frame, 3) {
            Ok(answer) if answer.error_code == 0 => answer,
            // A broker that does not know version 3 answers in the form of version 0, whatever that decodes to.
            _ => {
                self.send(&ApiVersionsRequest::default(), 0)?;
                let frame = self.receive(&mut FrameBuffer::default(), &|| false)?;
                self.decode::<ApiVersionsRequest>(frame, 0)?
            }
        };
        if let Some(error) = KafkaError::from_code(answer.error_code) {
            return Err(self.garbage(error.advice()));
        }
        let range = |api: &ApiVersion| (api.api_key, (api.min_version, api.max_version));
        self.versions = answer.api_keys.iter().map(range).collect();
        Ok(())
    }

    fn authenticate(&mut self, sasl: &SaslConfig) -> Result<(), SourceError> {
        let what = format!("authenticating at {} with {}", self.broker, sasl.mechanism());
        let refused =
            |why: String, hint: &str| SourceError::Authenticate { what: what.clone(), why, hint: hint.to_owned() };
        let hello = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(sasl.mechanism()));
        let answer = self.call(&hello, 1)?;
        if KafkaError(answer.error_code) == KafkaError::UNSUPPORTED_SASL_MECHANISM {
            let enabled: Vec<&str> = answer.mechanisms.iter().map(|m| m.as_str()).collect();
            let hint = format!("set sasl.mechanism to one that is: {}", enabled.join(", "));
            return Err(refused("the mechanism is not enabled there".to_owned(), &hint));
        }
        if KafkaError(answer.error_code) == KafkaError::ILLEGAL_SASL_STATE {
            return Err(refused("this listener asks for no SASL".to_owned(), "set security.protocol=PLAINTEXT or SSL"));
        }
        if let Some(error) = KafkaError::from_code(answer.error_code) {
            return Err(refused(error.advice(), "look for the reason in the broker's log"));
        }
        let mut exchange = Exchange::begin(sasl).map_err(|why| refused(why, sasl.check()))?;
        let mut heard: Option<Bytes> = None;
        let mut lifetime_ms = 0;
        while let Some(said) = exchange.step(heard.as_deref()).map_err(|why| refused(why, sasl.check()))? {
            let request = SaslAuthenticateRequest::default().with_auth_bytes(said.into());
            let answer = self.call(&request, 2)?;
            if let Some(error) = KafkaError::from_code(answer.error_code) {
                let text = answer.error_message.map_or_else(|| error.advice(), |text| text.to_string());
                return Err(refused(text, sasl.check()));
            }
            lifetime_ms = answer.session_lifetime_ms;
            heard = Some(answer.auth_bytes);
        }
        self.is_authenticated = true;
        // A new connection in good time: the broker closes this one on the first request after the lifetime.
        let in_time = |lifetime_ms: u64| Instant::now().checked_add(Duration::from_millis(lifetime_ms / 10 * 8));
        self.expires = u64::try_from(lifetime_ms).ok().filter(|&ms| ms > 0).and_then(in_time);
        Ok(())
    }

    fn lost(&self, source: io::Error) -> SourceError {
        let source = match source.kind() {
            ErrorKind::UnexpectedEof => io::Error::new(ErrorKind::UnexpectedEof, "the broker closed it"),
            kind @ ErrorKind::TimedOut => {
                io::Error::new(kind, format!("nothing came for {} s", self.timeout.as_secs_f32()))
            }
            _ => source,
        };
        SourceError::Io { what: format!("connection to {}", self.broker), source }
    }

    /// A broker that wants authentication, or does not know a version, closes the connection without a word.
    fn no_service(&self, error: SourceError) -> SourceError {
        if self.has_served || !is_closed(&error) {
            return error;
        }
        let hint = if self.is_authenticated {
            "look for the reason in the broker's log"
        } else {
            "if the listener wants authentication, set security.protocol=SASL_SSL or SASL_PLAINTEXT, and sasl.mechanism"
        };
        SourceError::Connect {
            what: format!("talking to {}", self.broker),
            why: "it closed the connection at the first request".to_owned(),
            hint: hint.to_owned(),
        }
    }

    fn garbage(&self, why: String) -> SourceError {
        SourceError::Protocol { what: format!("answer of {} does not parse", self.broker), why }
    }

    /// What a wrong port answers: another protocol's first bytes, read as a length.
    fn not_kafka(&self, first: [u8; 4]) -> SourceError {
        let hint = match &first {
            // An alert of TLS, version 3.x.
            [0x15, 0x03, ..] => "the listener speaks TLS; set security.protocol=SSL or SASL_SSL",
            b"HTTP" => "an HTTP server listens there; check the port",
            _ => "check the port",
        };
        SourceError::Connect {
            what: format!("connecting to {}", self.broker),
            why: "its answer is not Kafka's protocol".to_owned(),
            hint: hint.to_owned(),
        }
    }

    /// The very first request got no answer: the usual reason is a listener of another security protocol.
    fn no_greeting(&self, config: &Config, error: SourceError) -> SourceError {
        let SourceError::Io { source, .. } = error else { return error };
        let hint = match config.tls {
            None => "if the listener speaks TLS, set security.protocol=SSL or SASL_SSL; otherwise check the port",
            Some(_) => "check the port, and whether the listener wants a client certificate (ssl.certificate.location)",
        };
        SourceError::Connect {
            what: format!("connecting to {}", self.broker),
            why: format!("connected, but the first question got no answer ({source})"),
            hint: hint.to_owned(),
        }
    }
}

fn is_closed(error: &SourceError) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let SourceError::Io { source, .. } = error else { return false };
    matches!(source.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}
