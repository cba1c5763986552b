//! Throw-away certificates: one authority, one server certificate for loopback, one client certificate (`CN=client`).

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

/// PEM files in one directory.
#[derive(Clone, Debug)]
pub struct Certificates {
    pub ca: PathBuf,
    /// Key, certificate, authority in one file: what Kafka calls a PEM key store.
    pub server_store: PathBuf,
    pub client_store: PathBuf,
    pub client_certificate: PathBuf,
    pub client_key: PathBuf,
}

impl Certificates {
    pub fn make(directory: &Path) -> Self {
        let mut params = params("sordini test authority", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, key()).expect("the authority signs itself");
        let made = Self {
            ca: directory.join("ca.pem"),
            server_store: directory.join("server-store.pem"),
            client_store: directory.join("client-store.pem"),
            client_certificate: directory.join("client.pem"),
            client_key: directory.join("client.key"),
        };
        let (server_key, server) = issue(&authority, params_for_server(), ExtendedKeyUsagePurpose::ServerAuth);
        let (client_key, client) = issue(&authority, self::params("client", &[]), ExtendedKeyUsagePurpose::ClientAuth);
        write(&made.ca, &authority.pem());
        write(&made.server_store, &format!("{server_key}{server}{}", authority.pem()));
        write(&made.client_store, &format!("{client_key}{client}{}", authority.pem()));
        write(&made.client_certificate, &client);
        write(&made.client_key, &client_key);
        made
    }
}

fn params_for_server() -> CertificateParams {
    params("server", &["localhost", "127.0.0.1", "127.0.0.11", "127.0.0.12", "127.0.0.13"])
}

fn params(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("the names are valid");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// Key and certificate, PEM.
fn issue(
    authority: &CertifiedIssuer<'_, KeyPair>,
    mut params: CertificateParams,
    usage: ExtendedKeyUsagePurpose,
) -> (String, String) {
    params.extended_key_usages = vec![usage];
    let key = key();
    let certificate = params.signed_by(&key, authority).expect("the authority signs");
    (key.serialize_pem(), certificate.pem())
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key can be made")
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
