//! TLS by rustls: from settings to a client configuration. It must not know where the connection leads.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::source::SourceError;

#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// The system's authorities when absent.
    pub ca: Option<Pem>,
    pub certificate: Option<Pem>,
    pub key: Option<Pem>,
    pub verify: bool,
    pub verify_name: bool,
}

#[derive(Clone)]
pub enum Pem {
    Text(String),
    /// A file; for authorities also a directory of them.
    File(String),
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // It may be a key.
            Pem::Text(_) => f.write_str("(PEM)"),
            Pem::File(path) => f.write_str(path),
        }
    }
}

fn failed(name: &str, why: impl ToString) -> SourceError {
    SourceError::Setting { name: name.to_owned(), why: why.to_string() }
}

pub fn client_config(tls: &TlsConfig) -> Result<Arc<ClientConfig>, SourceError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed("security.protocol", error))?;
    let builder = match (tls.verify, tls.verify_name) {
        (true, true) => builder.with_root_certificates(roots(tls)?),
        (verify, _) => {
            let strict = |roots| WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
            let strict = match verify {
                true => Some(strict(roots(tls)?).map_err(|error| failed("ssl.ca.location", error))?),
                false => None,
            };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Lenient { strict }))
        }
    };
    let config = match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates("ssl.certificate.location", certificate)?;
            let key = private_key("ssl.key.location", key)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| failed("ssl.certificate.location", error))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn roots(tls: &TlsConfig) -> Result<RootCertStore, SourceError> {
    let name = "ssl.ca.location";
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(Pem::File(path)) if Path::new(path).is_dir() => {
            let found = rustls_native_certs::load_certs_from_paths(None, Some(Path::new(path)));
            roots.add_parsable_certificates(found.certs);
        }
        Some(ca) => {
            for certificate in certificates(name, ca)? {
                roots.add(certificate).map_err(|error| failed(name, error))?;
            }
        }
        None => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
    }
    if roots.is_empty() {
        let why = "no authority is known; name the certificate of the one that signed the brokers' certificates";
        return Err(failed(name, why));
    }
    Ok(roots)
}

fn read(name: &str, pem: &Pem) -> Result<Vec<u8>, SourceError> {
    match pem {
        Pem::Text(text) => Ok(text.clone().into_bytes()),
        Pem::File(path) => std::fs::read(path).map_err(|error| failed(name, format!("reading {path}: {error}"))),
    }
}

fn certificates(name: &str, pem: &Pem) -> Result<Vec<CertificateDer<'static>>, SourceError> {
    let text = read(name, pem)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(failed(name, "it holds no certificate in PEM form")),
        Ok(found) => Ok(found),
        Err(error) => Err(failed(name, format!("a certificate in it is damaged: {error}"))),
    }
}

fn private_key(name: &str, pem: &Pem) -> Result<PrivateKeyDer<'static>, SourceError> {
    let text = read(name, pem)?;
    if text.windows(9).any(|window| window == b"ENCRYPTED") {
        return Err(failed(name, "the key is encrypted; decrypt it (openssl pkey), or use --client librdkafka"));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| failed(name, format!("it holds no private key: {error}")))
}

/// Leaves out what `enable.ssl.certificate.verification=false` or `ssl.endpoint.identification.algorithm=none` ask to
/// leave out, and nothing else.
#[derive(Debug)]
struct Lenient {
    /// Checks all but the name; absent when nothing is to be verified.
    strict: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(strict) = &self.strict else { return Ok(ServerCertVerified::assertion()) };
        match strict.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.strict {
            Some(strict) => strict.verify_tls12_signature(message, cert, dss),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.strict {
            Some(strict) => strict.verify_tls13_signature(message, cert, dss),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
