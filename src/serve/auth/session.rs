//! Sessions without a table: a cookie that carries what it grants under a MAC whose key lives as long as the process. A
//! restart ends all sessions.

use hmac::{Hmac, Mac};
use rand::RngCore;
use sha2::Sha256;
use subtle::ConstantTimeEq;

pub const COOKIE: &str = "sordini-session";
const LIFE_MS: i64 = 12 * 3_600_000;

pub struct Sessions {
    key: [u8; 32],
}

/// Whom a cookie belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    nonce: String,
    until_ms: i64,
    /// Logged in with the token; otherwise the session only ties forms to the browser that got them.
    pub operator: bool,
}

impl Sessions {
    pub fn new() -> Self {
        let mut key = [0; 32];
        rand::rng().fill_bytes(&mut key);
        Self { key }
    }

    pub fn begin(&self, operator: bool, now_ms: i64) -> Session {
        let mut nonce = [0; 16];
        rand::rng().fill_bytes(&mut nonce);
        Session { nonce: hex(&nonce), until_ms: now_ms.saturating_add(LIFE_MS), operator }
    }

    fn mac(&self, purpose: &str, session: &Session) -> String {
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return String::new() };
        mac.update(format!("{purpose} {} {} {}", session.nonce, session.until_ms, session.operator).as_bytes());
        hex(&mac.finalize().into_bytes())
    }

    /// The value of `Set-Cookie`.
    pub fn cookie(&self, session: &Session, secure: bool) -> String {
        let operator = u8::from(session.operator);
        let value = format!("{}.{}.{operator}.{}", session.nonce, session.until_ms, self.mac("session", session));
        let secure = if secure { "; Secure" } else { "" };
        format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{secure}", LIFE_MS / 1000)
    }

    /// The session in a `Cookie` header, if it is ours and not over.
    pub fn read(&self, cookies: &str, now_ms: i64) -> Option<Session> {
        let value = cookies.split(';').find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))?;
        let mut parts = value.split('.');
        let nonce = parts.next()?.to_owned();
        let until_ms = parts.next()?.parse().ok()?;
        let operator = match parts.next()? {
            "0" => false,
            "1" => true,
            _ => return None,
        };
        let session = Session { nonce, until_ms, operator };
        let is_ours = equal(parts.next()?, &self.mac("session", &session));
        (is_ours && parts.next().is_none() && now_ms < until_ms).then_some(session)
    }

    /// What a form must carry besides the cookie.
    pub fn form_token(&self, session: &Session) -> String {
        self.mac("form", session)
    }

    pub fn is_form_token(&self, session: &Session, token: &str) -> bool {
        equal(token, &self.form_token(session))
    }
}

pub fn equal(a: &str, b: &str) -> bool {
    !a.is_empty() && a.as_bytes().ct_eq(b.as_bytes()).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_read_until_it_is_over_and_by_its_process_only() {
        let sessions = Sessions::new();
        let session = sessions.begin(true, 1_000);
        let cookie = sessions.cookie(&session, true);
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && cookie.ends_with("; Secure"));
        let pair = format!("a=b; {}", cookie.split(';').next().unwrap());
        assert_eq!(sessions.read(&pair, 2_000), Some(session.clone()));
        assert_eq!(sessions.read(&pair, 1_000 + LIFE_MS), None);
        assert_eq!(Sessions::new().read(&pair, 2_000), None);
        assert_eq!(sessions.read(&pair.replace(".1.", ".0."), 2_000), None);
        assert!(sessions.is_form_token(&session, &sessions.form_token(&session)));
        assert!(!sessions.is_form_token(&sessions.begin(true, 1_000), &sessions.form_token(&session)));
        assert!(!sessions.is_form_token(&session, ""));
    }

    #[test]
    fn a_visitor_cannot_become_an_operator() {
        let sessions = Sessions::new();
        let cookie = sessions.cookie(&sessions.begin(false, 0), false);
        assert!(!sessions.read(cookie.split(';').next().unwrap(), 1).unwrap().operator);
        assert!(sessions.read(&cookie.split(';').next().unwrap().replace(".0.", ".1."), 1).is_none());
    }
}
