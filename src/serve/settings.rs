//! From what the configuration says to what the server needs: secrets read, TLS loaded, and everything unsafe refused
//! before a port is open.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::auth::{Auth, Secret};
use super::metrics::Options;
use super::tls;
use crate::config::serve::{BasicAuthFile, ServeFile};

const LEAST_TOKEN: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("reading {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("serve.{key}: {why}")]
    Setting { key: &'static str, why: String },
    #[error(
        "serve.listen is {0}, which others can reach, but nobody would have to say who they are; set token-file or \
         basic-auth, or listen on 127.0.0.1"
    )]
    Open(SocketAddr),
    #[error("cannot listen on {address}: {source}; free the port or choose another with serve.listen")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("starting the threads of the server: {0}")]
    Runtime(std::io::Error),
}

pub(super) fn wrong(key: &'static str, why: impl Into<String>) -> ServeError {
    ServeError::Setting { key, why: why.into() }
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub listen: SocketAddr,
    pub metrics: Options,
    pub auth: Auth,
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Scheme, host and port as a browser's `Origin` header has them.
    pub external_origin: Option<String>,
    pub metrics_without_auth: bool,
}

impl Settings {
    pub fn read(file: &ServeFile) -> Result<Self, ServeError> {
        let mut compat = file.compat.clone();
        compat.sort_unstable();
        compat.dedup();
        let auth = Auth {
            token: file.token_file.as_deref().map(token).transpose()?,
            users: file.basic_auth.as_ref().map(users).transpose()?.unwrap_or_default(),
        };
        if !file.listen.ip().is_loopback() && !auth.is_required() {
            return Err(ServeError::Open(file.listen));
        }
        Ok(Self {
            listen: file.listen,
            metrics: Options { compat, sentinels: file.sentinels },
            auth,
            tls: file.tls.as_ref().map(tls::server_config).transpose()?,
            external_origin: file.external_url.as_deref().map(origin).transpose()?,
            metrics_without_auth: file.metrics_without_auth,
        })
    }
}

fn read(path: &Path) -> Result<String, ServeError> {
    std::fs::read_to_string(path).map_err(|source| ServeError::Read { path: path.to_owned(), source })
}

fn token(path: &Path) -> Result<Secret, ServeError> {
    let text = read(path)?;
    let token = text.trim();
    if token.len() < LEAST_TOKEN {
        let why =
            format!("{} holds fewer than {LEAST_TOKEN} characters; openssl rand -hex 32 makes one", path.display());
        return Err(wrong("token-file", why));
    }
    Ok(Secret::of(token))
}

fn users(file: &BasicAuthFile) -> Result<Vec<(String, Secret)>, ServeError> {
    const KEY: &str = "basic-auth";
    match (&file.users_file, &file.user, &file.password_file) {
        (Some(path), None, None) => {
            let text = read(path)?;
            let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
            let users: Result<Vec<_>, _> = lines.map(|(n, line)| user(path, n + 1, line)).collect();
            match users? {
                none if none.is_empty() => Err(wrong(KEY, format!("{} names no user", path.display()))),
                users => Ok(users),
            }
        }
        (None, Some(name), Some(path)) => {
            let text = read(path)?;
            match text.trim_end_matches(['\r', '\n']) {
                "" => Err(wrong(KEY, format!("{} is empty", path.display()))),
                password if !name.is_empty() && !name.contains(':') => Ok(vec![(name.clone(), Secret::of(password))]),
                _ => Err(wrong(KEY, "a user's name is not empty and holds no colon")),
            }
        }
        _ => Err(wrong(KEY, "set users-file, or user and password-file")),
    }
}

fn user(path: &Path, line: usize, text: &str) -> Result<(String, Secret), ServeError> {
    let bad = |why: &str| wrong("basic-auth", format!("{}:{line}: {why}", path.display()));
    let (name, password) = text.trim_end().split_once(':').ok_or_else(|| bad("write name:password"))?;
    if name.is_empty() || password.is_empty() {
        return Err(bad("neither name nor password may be empty"));
    }
    let secret = match password.strip_prefix("sha256:") {
        Some(hash) => Secret::of_hash(hash).ok_or_else(|| bad("sha256: is followed by 64 hexadecimal digits"))?,
        None => Secret::of(password),
    };
    Ok((name.to_owned(), secret))
}

fn origin(url: &str) -> Result<String, ServeError> {
    let url = url.to_ascii_lowercase();
    let (scheme, rest) = url.split_once("://").unwrap_or(("", ""));
    let host = rest.split('/').next().unwrap_or_default();
    let is_plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
    if !["http", "https"].contains(&scheme) || host.is_empty() || !is_plain {
        return Err(wrong("external-url", "write it as in https://sordini.example.com"));
    }
    Ok(format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn beyond_loopback_somebody_must_say_who_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = ServeFile { listen: "0.0.0.0:0".parse().unwrap(), ..ServeFile::default() };
        let said = Settings::read(&config).unwrap_err().to_string();
        assert!(said.contains("set token-file or basic-auth"), "{said}");
        config.token_file = Some(file(&dir, "token", "0123456789abcdef\n"));
        assert!(Settings::read(&config).unwrap().auth.is_token("0123456789abcdef"));
        config.token_file = None;
        config.basic_auth =
            Some(BasicAuthFile { users_file: Some(file(&dir, "users", "# who\nann:x:y\n\n")), ..Default::default() });
        assert_eq!(Settings::read(&config).unwrap().auth.users.len(), 1);
    }

    #[test]
    fn what_cannot_work_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |config: ServeFile| Settings::read(&config).unwrap_err().to_string();
        let base = ServeFile::default;
        let short = Some(file(&dir, "short", "abc"));
        assert!(refused(ServeFile { token_file: short, ..base() }).contains("openssl rand"));
        let gone = Some(dir.path().join("gone"));
        assert!(refused(ServeFile { token_file: gone, ..base() }).starts_with("reading "));
        for lines in ["", "ann", "ann:", ":x", "ann:sha256:00"] {
            let users_file = Some(file(&dir, "bad", lines));
            let basic_auth = Some(BasicAuthFile { users_file, ..Default::default() });
            assert!(refused(ServeFile { basic_auth, ..base() }).starts_with("serve.basic-auth: "), "{lines}");
        }
        for url in ["sordini", "ftp://a", "https://", "https://a\r\nb"] {
            assert!(refused(ServeFile { external_url: Some(url.to_owned()), ..base() }).contains("external-url"));
        }
        assert_eq!(origin("https://A.example:8443/sordini").unwrap(), "https://a.example:8443");
    }
}
