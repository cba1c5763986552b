//! TLS by rustls.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::config::{Pem, TlsConfig};
use crate::source::SourceError;

pub fn client_config(tls: &TlsConfig) -> Result<Arc<ClientConfig>, SourceError> {
    let failed = |name: &str, why: String| SourceError::Setting { name: name.to_owned(), why };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed("security.protocol", error.to_string()))?;
    let roots = Arc::new(roots(tls)?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider)
        .build()
        .map_err(|error| failed("ssl.ca.location", error.to_string()));
    let builder = match (tls.verify, tls.verify_name) {
        (true, true) => builder.with_root_certificates(roots),
        (verify, _) => {
            let inner = if verify { Some(verifier?) } else { verifier.ok() };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Lenient { inner, verify }))
        }
    };
    let mut config = match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates("ssl.certificate.location", certificate)?;
            let key = PrivateKeyDer::from_pem_slice(&read("ssl.key.location", key)?)
                .map_err(|error| failed("ssl.key.location", error.to_string()))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| failed("ssl.certificate.location", error.to_string()))?
        }
        _ => builder.with_no_client_auth(),
    };
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

fn roots(tls: &TlsConfig) -> Result<RootCertStore, SourceError> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(ca) => {
            for certificate in certificates("ssl.ca.location", ca)? {
                roots.add(certificate).map_err(|error| SourceError::Setting {
                    name: "ssl.ca.location".to_owned(),
                    why: error.to_string(),
                })?;
            }
        }
        None => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
    }
    if roots.is_empty() && tls.verify {
        return Err(SourceError::Setting {
            name: "ssl.ca.location".to_owned(),
            why: "no certificate authority is known; name the file of the one that signed the brokers' certificates".to_owned(),
        });
    }
    Ok(roots)
}

fn read(name: &str, pem: &Pem) -> Result<Vec<u8>, SourceError> {
    match pem {
        Pem::Text(text) => Ok(text.clone().into_bytes()),
        Pem::File(path) => std::fs::read(path).map_err(|error| SourceError::Setting {
            name: name.to_owned(),
            why: format!("reading {path}: {error}"),
        }),
    }
}

fn certificates(name: &str, pem: &Pem) -> Result<Vec<CertificateDer<'static>>, SourceError> {
    let text = read(name, pem)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok).collect();
    if found.is_empty() {
        return Err(SourceError::Setting { name: name.to_owned(), why: "holds no PEM certificate".to_owned() });
    }
    Ok(found)
}

/// Leaves out what `enable.ssl.certificate.verification=false` or `ssl.endpoint.identification.algorithm=none` ask to
/// leave out, and nothing else.
#[derive(Debug)]
struct Lenient {
    inner: Option<Arc<WebPkiServerVerifier>>,
    verify: bool,
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
        let Some(inner) = self.inner.as_ref().filter(|_| self.verify) else { return Ok(ServerCertVerified::assertion()) };
        match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.inner {
            Some(inner) if self.verify => inner.verify_tls12_signature(message, cert, dss),
            _ => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.inner {
            Some(inner) if self.verify => inner.verify_tls13_signature(message, cert, dss),
            _ => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
