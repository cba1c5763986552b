//! HTTP as all sinks use it: one answer, sorted into taken, later and never. Knows nothing of what is sent.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::Sha256;
use ureq::http::{Method, Request, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::Secret;
use crate::alert::outbox::Failure;

/// How much of a refusal is worth keeping.
const EXCERPT: u64 = 300;

pub struct Client {
    agent: ureq::Agent,
    auth: Auth,
}

enum Auth {
    None,
    Basic { username: String, password: Secret },
    Bearer(Secret),
}

impl Client {
    pub fn new(timeout: Duration, ca: Option<&Path>) -> Result<Self, String> {
        let tls = TlsConfig::builder()
            .root_certs(roots(ca)?)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            .tls_config(tls)
            .http_status_as_error(false)
            // What is told is told to whom the configuration names, and to nobody else.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("sordini/", env!("CARGO_PKG_VERSION")));
        Ok(Self { agent: config.build().into(), auth: Auth::None })
    }

    pub fn with_auth(
        mut self,
        username: Option<&str>,
        password: Option<&PathBuf>,
        bearer: Option<&PathBuf>,
    ) -> Result<Self, String> {
        self.auth = match (username, password, bearer) {
            (None, None, None) => Auth::None,
            (None, None, Some(bearer)) => Auth::Bearer(Secret::new(bearer)?),
            (Some(username), Some(password), None) => {
                Auth::Basic { username: username.to_owned(), password: Secret::new(password)? }
            }
            (_, _, Some(_)) => return Err("give username and password-file, or bearer-file, not both".to_owned()),
            _ => return Err("username and password-file belong together".to_owned()),
        };
        Ok(self)
    }

    pub fn send(&self, method: &Method, url: &Uri, headers: &[(String, String)], body: &[u8]) -> Result<(), Failure> {
        let later = |why: String, is_sink_wide| Failure::Later { why, after: None, is_sink_wide };
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(value) = self.authorization().map_err(|why| later(why, true))? {
            request = request.header("Authorization", value);
        }
        let answer = match method {
            &Method::GET => request.body(()).map(|request| self.agent.run(request)),
            _ => request.body(body).map(|request| self.agent.run(request)),
        };
        let place = place(url);
        let mut answer = match answer {
            // Built from texts that were checked at start-up or that were escaped.
            Err(error) => return Err(Failure::Never { why: format!("{place}: {error}") }),
            Ok(Err(error)) => return Err(later(format!("{place}: {error}"), true)),
            Ok(Ok(answer)) => answer,
        };
        let status = answer.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(());
        }
        let after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()).and_then(retry_after);
        let said = answer.body_mut().with_config().limit(EXCERPT).read_to_string().unwrap_or_default();
        let why = match said.trim() {
            "" => format!("{place} answered {status}"),
            said => format!("{place} answered {status}: {said}"),
        };
        match status {
            408 => Err(later(why, false)),
            429 | 502..=504 => Err(Failure::Later { why, after, is_sink_wide: true }),
            500.. => Err(Failure::Later { why, after, is_sink_wide: false }),
            _ => Err(Failure::Never { why }),
        }
    }

    fn authorization(&self) -> Result<Option<String>, String> {
        Ok(match &self.auth {
            Auth::None => None,
            Auth::Bearer(token) => Some(format!("Bearer {}", token.read()?)),
            Auth::Basic { username, password } => {
                Some(format!("Basic {}", base64(format!("{username}:{}", password.read()?).as_bytes())))
            }
        })
    }
}

/// Host and port only: paths of incoming webhooks are secrets.
fn place(url: &Uri) -> String {
    let host = url.authority().map_or("", |authority| authority.as_str());
    host.rsplit('@').next().unwrap_or_default().to_owned()
}

pub fn url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.trim().parse().map_err(|error| format!("the URL does not read: {error}"))?;
    match (url.scheme_str(), url.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(url),
        _ => Err("the URL must begin with http:// or https:// and a host".to_owned()),
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCerts, String> {
    let found: Vec<CertificateDer> = match ca {
        None => rustls_native_certs::load_native_certs().certs,
        Some(path) => {
            let text = std::fs::read(path).map_err(|error| format!("reading {}: {error}", path.display()))?;
            let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
            found.map_err(|error| format!("{}: a certificate in it is damaged: {error}", path.display()))?
        }
    };
    if let (Some(path), []) = (ca, &found[..]) {
        return Err(format!("{} holds no certificate in PEM form", path.display()));
    }
    let certificates: Vec<_> = found.iter().map(|found| Certificate::from_der(found).to_owned()).collect();
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

/// Seconds, or a date as HTTP writes it: `Wed, 21 Oct 2026 07:28:00 GMT`.
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let [_, day, month, year, time, "GMT"] = text.split_whitespace().collect::<Vec<_>>()[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let date = humantime::parse_rfc3339(&format!("{year}-{month:02}-{day:0>2}T{time}Z")).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// HMAC-SHA256 in hexadecimal digits.
pub fn hmac_hex(secret: &[u8], parts: &[&[u8]]) -> Result<String, String> {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(secret).map_err(|error| error.to_string())?;
    parts.iter().for_each(|part| mac.update(part));
    Ok(mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, &byte| group << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            match digit <= chunk.len() {
                true => out.push(DIGITS[(group >> (18 - 6 * digit) & 63) as usize].into()),
                false => out.push('='),
            }
        }
    }
    out
}

/// Seconds since 1970.
pub fn seconds(now_ms: i64) -> i64 {
    now_ms.div_euclid(1000)
}

/// What the clock says when nobody else does.
pub fn system_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_rfc_4648() {
        let pairs =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
        for (text, encoded) in pairs {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }

    #[test]
    fn hmac_as_in_rfc_4231() {
        let mac = hmac_hex(b"Jefe", &[b"what do ya want ", b"for nothing?"]).unwrap();
        assert_eq!(mac, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after("120"), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert!(retry_after("Wed, 1 Jan 2200 00:00:00 GMT").unwrap() > Duration::from_secs(86_400 * 365 * 100));
        assert_eq!(retry_after("soon"), None);
    }

    #[test]
    fn a_url_is_one_and_its_path_is_not_told() {
        assert_eq!(place(&url("https://user:pw@hooks.example.org/services/SECRET").unwrap()), "hooks.example.org");
        for text in ["hooks.example.org", "ftp://x", "http://", ""] {
            assert!(url(text).is_err(), "{text}");
        }
    }
}
