//! One framed connection to one broker: `length, header, body` each way, one request at a time.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use kafka_protocol::protocol::buf::ByteBuf;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, Request, StrBytes};
use rustls::{ClientConnection, StreamOwned};

use super::config::Config;
use super::errors::KafkaError;
use super::sasl::Exchange;
use super::tls;
use crate::source::SourceError;

/// Largest frame taken for one: above any answer that was asked for, below what another protocol's bytes would say.
const LARGEST_FRAME: usize = 1 << 30;
/// How long one blocking read waits before the caller's wish to stop is looked at.
const POLL: Duration = Duration::from_millis(250);

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(buf),
            Stream::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.write(buf),
            Stream::Tls(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

pub struct Connection {
    stream: Stream,
    broker: String,
    client_id: StrBytes,
    versions: HashMap<i16, (i16, i16)>,
    correlation: i32,
    timeout: Duration,
    /// When the broker wants to be told again who this is (`connections.max.reauth.ms`).
    expires: Option<Instant>,
}

impl Connection {
    /// Connects, encrypts, authenticates and asks which requests the broker knows.
    pub fn open(broker: &str, config: &Config) -> Result<Self, SourceError> {
        let tcp = connect_tcp(broker, config.connect_timeout)?;
        let io = |source| SourceError::Io { what: format!("setting up the connection to {broker}"), source };
        tcp.set_nodelay(true).map_err(io)?;
        tcp.set_read_timeout(Some(config.connect_timeout)).map_err(io)?;
        tcp.set_write_timeout(Some(config.request_timeout)).map_err(io)?;
        let stream = match &config.tls {
            None => Stream::Plain(tcp),
            Some(tls) => Stream::Tls(Box::new(handshake(broker, tcp, tls::client_config(tls)?)?)),
        };
        let mut connection = Self {
            stream,
            broker: broker.to_owned(),
            client_id: StrBytes::from_string(config.client_id.clone()),
            versions: HashMap::new(),
            correlation: 0,
            timeout: config.connect_timeout,
            expires: None,
        };
        connection.tcp().set_read_timeout(Some(POLL)).map_err(io)?;
        connection.ask_versions(config)?;
        if let Some(sasl) = &config.sasl {
            connection.authenticate(sasl)?;
        }
        connection.timeout = config.request_timeout;
        Ok(connection)
    }

    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref(),
        }
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
        let &(min, max) = self.versions.get(&R::KEY)?;
        let version = max.min(R::VERSIONS.max).min(most);
        (version >= min.max(R::VERSIONS.min)).then_some(version)
    }

    /// Sends a request and waits for its answer.
    pub fn call<R: Request>(&mut self, request: &R, most: i16) -> Result<R::Response, SourceError> {
        let version = self.version::<R>(most).ok_or_else(|| SourceError::Protocol {
            what: format!("broker {}", self.broker),
            why: format!("it does not know request {} in any version this client speaks", R::KEY),
        })?;
        self.send(request, version)?;
        let frame = self.receive(Vec::new(), &|| false)?;
        decode::<R, _>(&mut frame.as_slice(), version).map_err(|why| self.garbage(why))
    }

    pub fn send<R: Request>(&mut self, request: &R, version: i16) -> Result<(), SourceError> {
        self.correlation = self.correlation.wrapping_add(1);
        let mut frame = vec![0; 4];
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(self.client_id.clone()));
        let encoded = header.encode(&mut frame, R::header_version(version)).and_then(|()| request.encode(&mut frame, version));
        encoded.map_err(|error| self.garbage(error.to_string()))?;
        let length = (frame.len() - 4) as u32;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&frame).and_then(|()| self.stream.flush()).map_err(|error| self.lost(error))
    }

    /// Receives one frame into `buf`, whose memory is used again. `stopped` is looked at while nothing comes.
    pub fn receive(&mut self, mut buf: Vec<u8>, stopped: &dyn Fn() -> bool) -> Result<Vec<u8>, SourceError> {
        buf.clear();
        let deadline = Instant::now() + self.timeout;
        self.fill(&mut buf, 4, deadline, stopped)?;
        let length = u32::from_be_bytes([buf[0], buf[1], buf[2], buf[3]]) as usize;
        if !(4..=LARGEST_FRAME).contains(&length) {
            return Err(self.not_kafka(&buf));
        }
        buf.clear();
        buf.reserve_exact(length + 32);
        self.fill(&mut buf, length, deadline, stopped)?;
        Ok(buf)
    }

    /// Reads until `buf` holds `length` bytes, without writing its memory twice.
    fn fill(
        &mut self,
        buf: &mut Vec<u8>,
        length: usize,
        deadline: Instant,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), SourceError> {
        while buf.len() < length {
            let left = (length - buf.len()) as u64;
            match (&mut self.stream).take(left).read_to_end(buf) {
                Ok(0) => return Err(self.lost(ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if stopped() {
                        return Err(self.lost(ErrorKind::Interrupted.into()));
                    }
                    if Instant::now() >= deadline {
                        return Err(self.lost(ErrorKind::TimedOut.into()));
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(error)),
            }
        }
        Ok(())
    }

    fn ask_versions(&mut self, config: &Config) -> Result<(), SourceError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("sordini"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        // A broker that does not know version 3 answers in version 0 with error 35.
        for version in [3, 0] {
            self.send(&request, version)?;
            let frame = self.receive(Vec::new(), &|| false).map_err(|error| self.no_versions(config, error))?;
            let decoded = decode::<ApiVersionsRequest, _>(&mut frame.as_slice(), version);
            let answer: ApiVersionsResponse = match decoded {
                Ok(answer) => answer,
                Err(_) if version > 0 => continue,
                Err(why) => return Err(self.garbage(why)),
            };
            if answer.error_code == 0 {
                let range = |api: &kafka_protocol::messages::api_versions_response::ApiVersion| (api.api_key, (api.min_version, api.max_version));
                self.versions = answer.api_keys.iter().map(range).collect();
                return Ok(());
            }
        }
        Err(self.garbage("it answers no version of ApiVersions".to_owned()))
    }

    fn authenticate(&mut self, sasl: &super::config::SaslConfig) -> Result<(), SourceError> {
        let refused = |why: String, hint: &str| SourceError::Authenticate {
            what: format!("authenticating at {} with {}", self.broker, sasl.mechanism()),
            why,
            hint: hint.to_owned(),
        };
        let failed = refused(String::new(), "");
        let refused = move |why: String, hint: &str| match &failed {
            SourceError::Authenticate { what, .. } => {
                SourceError::Authenticate { what: what.clone(), why, hint: hint.to_owned() }
            }
            _ => SourceError::NotFound(why),
        };
        let hello = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(sasl.mechanism()));
        let answer = self.call(&hello, 1)?;
        if KafkaError(answer.error_code) == KafkaError::UNSUPPORTED_SASL_MECHANISM {
            let enabled: Vec<&str> = answer.mechanisms.iter().map(|m| m.as_str()).collect();
            return Err(refused("the mechanism is not enabled there".to_owned(), &format!("enabled are {}", enabled.join(", "))));
        }
        if let Some(error) = KafkaError::from_code(answer.error_code) {
            return Err(refused(error.advice(), "check the listener's SASL settings"));
        }
        let check = "check sasl.username and sasl.password, or the token";
        let mut exchange = Exchange::begin(sasl).map_err(|why| refused(why, check))?;
        let mut heard: Option<Vec<u8>> = None;
        let mut lifetime_ms = 0;
        while let Some(said) = exchange.step(heard.as_deref()).map_err(|why| refused(why, check))? {
            let request = SaslAuthenticateRequest::default().with_auth_bytes(said.into());
            let answer = self.call(&request, 2)?;
            if let Some(error) = KafkaError::from_code(answer.error_code) {
                let text = answer.error_message.map(|m| m.to_string()).unwrap_or_else(|| error.advice());
                return Err(refused(text, check));
            }
            if matches!(exchange, Exchange::Single(_)) && !answer.auth_bytes.is_empty() {
                // RFC 7628 §3.2.2: an expired token is refused in a body, with no error code.
                return Err(refused(String::from_utf8_lossy(&answer.auth_bytes).into_owned(), "get a fresh token"));
            }
            lifetime_ms = answer.session_lifetime_ms;
            heard = Some(answer.auth_bytes.to_vec());
        }
        if lifetime_ms > 0 {
            self.expires = Some(Instant::now() + Duration::from_millis(lifetime_ms as u64 * 8 / 10));
        }
        Ok(())
    }

    fn lost(&self, source: io::Error) -> SourceError {
        SourceError::Io { what: format!("connection to {}", self.broker), source }
    }

    fn garbage(&self, why: String) -> SourceError {
        SourceError::Protocol { what: format!("answer of {}", self.broker), why }
    }

    /// What a wrong port answers: another protocol's first bytes, read as a length.
    fn not_kafka(&self, first: &[u8]) -> SourceError {
        let hint = match first {
            [0x15, 0x03, ..] => "it speaks TLS; set security.protocol=SSL or SASL_SSL".to_owned(),
            b"HTTP" => "it speaks HTTP; check the port".to_owned(),
            _ => "check the port".to_owned(),
        };
        let why = "its answer is not Kafka's protocol".to_owned();
        SourceError::Connect { what: format!("connecting to {}", self.broker), why, hint }
    }

    /// The first request got no answer: the usual reason is a listener of another security protocol.
    fn no_versions(&self, config: &Config, error: SourceError) -> SourceError {
        let SourceError::Io { source, .. } = &error else { return error };
        let hint = match (&config.tls, source.kind()) {
            (None, ErrorKind::TimedOut) => "is it a Kafka broker, and not a TLS listener? (security.protocol=SSL)",
            (None, _) => "if the listener speaks TLS, set security.protocol=SSL or SASL_SSL",
            (Some(_), _) => "check the port, and whether the listener wants a client certificate",
        };
        let why = match source.kind() {
            ErrorKind::TimedOut => "connected, but it does not answer".to_owned(),
            _ => format!("connected, but it closed the connection ({source})"),
        };
        SourceError::Connect { what: format!("connecting to {}", self.broker), why, hint: hint.to_owned() }
    }
}

/// Header and body of an answer.
pub fn decode<R: Request, B: ByteBuf>(frame: &mut B, version: i16) -> Result<R::Response, String> {
    let header_version = R::Response::header_version(version);
    ResponseHeader::decode(frame, header_version)
        .and_then(|_| R::Response::decode(frame, version))
        .map_err(|error| format!("it does not parse: {error}"))
}

fn connect_tcp(broker: &str, timeout: Duration) -> Result<TcpStream, SourceError> {
    let failed = |why: String, hint: &str| SourceError::Connect {
        what: format!("connecting to {broker}"),
        why,
        hint: hint.to_owned(),
    };
    let with_port = if broker.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        broker.to_owned()
    } else {
        format!("{broker}:9092")
    };
    let addresses = with_port
        .to_socket_addrs()
        .map_err(|error| failed(error.to_string(), "check the host name"))?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    let why = last.map_or_else(|| "the name has no address".to_owned(), |error| error.to_string());
    Err(failed(why, "check that a broker listens there and that it can be reached from here"))
}

fn handshake(
    broker: &str,
    mut tcp: TcpStream,
    config: Arc<rustls::ClientConfig>,
) -> Result<StreamOwned<ClientConnection, TcpStream>, SourceError> {
    let failed = |why: String, hint: &str| SourceError::Connect {
        what: format!("connecting to {broker} with TLS"),
        why,
        hint: hint.to_owned(),
    };
    let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host).trim_matches(['[', ']']);
    let name = rustls::pki_types::ServerName::try_from(host.to_owned())
        .map_err(|error| failed(error.to_string(), "check the host name"))?;
    let mut session = ClientConnection::new(config, name).map_err(|error| failed(error.to_string(), "check the TLS settings"))?;
    while session.is_handshaking() {
        if let Err(error) = session.complete_io(&mut tcp) {
            let text = error.to_string();
            let hint = if text.contains("UnknownIssuer") {
                "the broker's certificate is not signed by a known authority; name it with ssl.ca.location"
            } else if text.contains("NotValidForName") || text.contains("not valid for name") {
                "the certificate is for another host; use the name in it, or ssl.endpoint.identification.algorithm=none"
            } else if text.contains("Expired") || text.contains("expired") {
                "the broker's certificate has expired"
            } else if text.contains("corrupt message") || text.contains("InvalidMessage") || error.kind() == ErrorKind::UnexpectedEof {
                "if the listener does not speak TLS, use security.protocol=PLAINTEXT or SASL_PLAINTEXT"
            } else if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
                "it does not answer the TLS handshake; if the listener does not speak TLS, use security.protocol=PLAINTEXT"
            } else {
                "check the TLS settings of both sides"
            };
            return Err(failed(text, hint));
        }
    }
    Ok(StreamOwned::new(session, tcp))
}
