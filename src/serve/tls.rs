//! TLS of the server: from two PEM files to a configuration.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::settings::{ServeError, wrong};
use crate::config::serve::TlsFile;

pub fn server_config(files: &TlsFile) -> Result<Arc<ServerConfig>, ServeError> {
    let damaged = |path: &Path, why: String| wrong("tls", format!("{}: {why}", path.display()));
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(&files.certificate)?).collect();
    let chain = chain.map_err(|error| damaged(&files.certificate, format!("a certificate is damaged: {error}")))?;
    if chain.is_empty() {
        return Err(damaged(&files.certificate, "it holds no certificate in PEM form".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
        .map_err(|error| damaged(&files.key, format!("it holds no private key that can be read: {error}")))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| wrong("tls", format!("certificate and key do not fit: {error}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Vec<u8>, ServeError> {
    std::fs::read(path).map_err(|source| ServeError::Read { path: path.to_owned(), source })
}
