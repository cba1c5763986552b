//! The bytes below the frames: TCP, and TLS where it is asked for. It says in words what goes wrong while connecting,
//! and must not know what a frame is.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection, StreamOwned};

use super::config::Config;
use crate::source::SourceError;

const DEFAULT_PORT: u16 = 9092;

pub enum Transport {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Transport {
    /// Connects and encrypts. A later read returns `WouldBlock` when nothing comes for `poll`.
    pub fn open(broker: &str, config: &Config, poll: Duration) -> Result<Self, SourceError> {
        let tcp = connect(broker, config.connect_timeout)?;
        let failed = |source| SourceError::Io { what: format!("setting up the connection to {broker}"), source };
        tcp.set_nodelay(true).map_err(failed)?;
        tcp.set_read_timeout(Some(config.connect_timeout)).map_err(failed)?;
        tcp.set_write_timeout(Some(config.request_timeout)).map_err(failed)?;
        let transport = match &config.tls {
            None => Transport::Plain(tcp),
            Some(tls) => Transport::Tls(Box::new(handshake(broker, tcp, tls.clone())?)),
        };
        let tcp = match &transport {
            Transport::Plain(tcp) => tcp,
            Transport::Tls(tls) => tls.get_ref(),
        };
        tcp.set_read_timeout(Some(poll)).map_err(failed)?;
        Ok(transport)
    }
}

impl Read for Transport {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(stream) => stream.read(buf),
            Transport::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(stream) => stream.write(buf),
            Transport::Tls(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Transport::Plain(stream) => stream.flush(),
            Transport::Tls(stream) => stream.flush(),
        }
    }
}

/// Whether an error only says that nothing has come yet.
pub fn is_quiet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn connect(broker: &str, timeout: Duration) -> Result<TcpStream, SourceError> {
    let failed = |why: String, hint: &str| SourceError::Connect {
        what: format!("connecting to {broker}"),
        why,
        hint: hint.to_owned(),
    };
    let (host, port) = host_and_port(broker);
    let addresses = (host, port).to_socket_addrs().map_err(|error| {
        failed(format!("the host name {host} cannot be resolved ({error})"), "check its spelling, and DNS")
    })?;
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

/// `host`, `host:port`, `[v6]:port` or a bare IPv6 address.
fn host_and_port(broker: &str) -> (&str, u16) {
    match broker.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => (host.trim_matches(['[', ']']), port),
            Err(_) => (broker, DEFAULT_PORT),
        },
        _ => (broker.trim_matches(['[', ']']), DEFAULT_PORT),
    }
}

fn handshake(
    broker: &str,
    mut tcp: TcpStream,
    config: Arc<ClientConfig>,
) -> Result<StreamOwned<ClientConnection, TcpStream>, SourceError> {
    let failed = |why: String, hint: &str| SourceError::Connect {
        what: format!("connecting to {broker} with TLS"),
        why,
        hint: hint.to_owned(),
    };
    let (host, _) = host_and_port(broker);
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| failed(format!("{host} cannot stand in a certificate"), "use a host name or an IP address"))?;
    let mut session =
        ClientConnection::new(config, name).map_err(|error| failed(error.to_string(), "check the TLS settings"))?;
    while session.is_handshaking() {
        session.complete_io(&mut tcp).map_err(|error| failed(error.to_string(), handshake_hint(&error)))?;
    }
    Ok(StreamOwned::new(session, tcp))
}

const NO_TLS_THERE: &str = "if the listener does not speak TLS, use security.protocol=PLAINTEXT or SASL_PLAINTEXT";

fn handshake_hint(error: &io::Error) -> &'static str {
    use CertificateError as Bad;
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(bad)) => match bad {
            Bad::UnknownIssuer | Bad::BadSignature => {
                "it is not signed by an authority known here; name that authority with ssl.ca.location"
            }
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                "connect by a name that stands in the certificate, or set ssl.endpoint.identification.algorithm=none"
            }
            Bad::Expired | Bad::ExpiredContext { .. } => "the broker's certificate has expired and must be renewed",
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => "check the clocks of both machines",
            _ => "check the broker's certificate",
        },
        Some(rustls::Error::AlertReceived(_)) => {
            "the broker refuses; check its log, and whether it wants a client certificate (ssl.certificate.location)"
        }
        Some(rustls::Error::InvalidMessage(_)) => NO_TLS_THERE,
        Some(_) => "check the TLS settings of both sides",
        // Kafka closes a connection whose first bytes make no frame.
        None => NO_TLS_THERE,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use rustls::pki_types::PrivateKeyDer;

    use super::*;

    #[test]
    fn a_broker_is_named_with_or_without_a_port() {
        let cases = [
            ("kafka", ("kafka", 9092)),
            ("kafka:19092", ("kafka", 19092)),
            ("127.0.0.1:1", ("127.0.0.1", 1)),
            ("[::1]:9093", ("::1", 9093)),
            ("[::1]", ("::1", 9092)),
            ("::1", ("::1", 9092)),
        ];
        for (broker, expected) in cases {
            assert_eq!(host_and_port(broker), expected, "{broker}");
        }
    }

    #[test]
    fn a_name_without_an_address_says_so() {
        let error = connect("no-such-host.invalid:9092", Duration::from_secs(1)).unwrap_err().to_string();
        assert!(error.contains("no-such-host.invalid cannot be resolved") && error.contains("DNS"), "{error}");
    }

    struct Authority {
        certificate: rcgen::Certificate,
        issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    }

    fn authority() -> Authority {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority { certificate, issuer: rcgen::Issuer::new(params, key) }
    }

    /// Accepts one TLS connection and sends one byte over it.
    fn server(authority: &Authority, change: impl FnOnce(&mut rcgen::CertificateParams)) -> (u16, JoinHandle<()>) {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        change(&mut params);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &authority.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = std::thread::spawn(move || {
            let session = rustls::ServerConnection::new(Arc::new(config)).unwrap();
            let mut stream = StreamOwned::new(session, listener.accept().unwrap().0);
            // A client that refuses the certificate hangs up.
            let _ = stream.write_all(b"!");
        });
        (port, serving)
    }

    fn open(port: u16, settings: &[(&str, &str)]) -> Result<u8, String> {
        let broker = format!("localhost:{port}");
        let all = [("bootstrap.servers", broker.as_str()), ("security.protocol", "SSL")];
        let properties = all.iter().chain(settings).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let config = Config::resolve(&properties).map_err(|error| error.to_string())?;
        let mut transport =
            Transport::open(&broker, &config, Duration::from_secs(5)).map_err(|error| error.to_string())?;
        let mut byte = [0];
        transport.read_exact(&mut byte).map_err(|error| error.to_string())?;
        Ok(byte[0])
    }

    #[test]
    fn a_certificate_is_accepted_or_the_reason_is_told() {
        let (known, unknown) = (authority(), authority());
        let ca = known.certificate.pem();
        let trusting = ("ssl.ca.pem", ca.as_str());
        let of_other_host = |params: &mut rcgen::CertificateParams| {
            params.subject_alt_names = vec![rcgen::SanType::DnsName("other".try_into().unwrap())];
        };
        let expired = |params: &mut rcgen::CertificateParams| params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        let try_with = |authority, change: &dyn Fn(&mut rcgen::CertificateParams), settings: &[(&str, &str)]| {
            let (port, serving) = server(authority, change);
            let result = open(port, settings);
            serving.join().unwrap();
            result
        };
        assert_eq!(try_with(&known, &|_| (), &[trusting]), Ok(b'!'));
        let error = try_with(&unknown, &|_| (), &[trusting]).unwrap_err();
        assert!(error.contains("ssl.ca.location"), "{error}");
        let error = try_with(&known, &of_other_host, &[trusting]).unwrap_err();
        assert!(error.contains("ssl.endpoint.identification.algorithm=none"), "{error}");
        let error = try_with(&known, &expired, &[trusting]).unwrap_err();
        assert!(error.contains("expired"), "{error}");

        let any_name = ("ssl.endpoint.identification.algorithm", "none");
        assert_eq!(try_with(&known, &of_other_host, &[trusting, any_name]), Ok(b'!'));
        assert!(try_with(&known, &expired, &[trusting, any_name]).is_err(), "only the name is left out");
        assert!(try_with(&unknown, &of_other_host, &[trusting, any_name]).is_err(), "only the name is left out");
        let anything = ("enable.ssl.certificate.verification", "false");
        assert_eq!(try_with(&unknown, &expired, &[anything]), Ok(b'!'));
    }
}
