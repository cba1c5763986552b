//! Who may look and who may change something. Secrets are read once at start and kept as hashes; comparing them takes the
//! same time wherever they differ.
//!
//! The token makes an operator, who may change things. Basic auth makes a viewer, for scrapers and for screens on a wall.
//! With neither configured, which is possible on loopback only, everybody who reaches the port is an operator.

pub mod base64;
pub mod session;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    Nobody,
    Viewer,
    Operator,
}

/// The hash of a secret.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl Secret {
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// From its hash in hexadecimal.
    pub fn of_hash(hex: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if hex.len() != 64 || !hex.is_ascii() {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    pub fn is(&self, text: &str) -> bool {
        self.0.ct_eq(&Secret::of(text).0).into()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

#[derive(Clone, Debug, Default)]
pub struct Auth {
    pub token: Option<Secret>,
    pub users: Vec<(String, Secret)>,
}

impl Auth {
    /// Whether anybody must say who they are.
    pub fn is_required(&self) -> bool {
        self.token.is_some() || !self.users.is_empty()
    }

    pub fn is_token(&self, text: &str) -> bool {
        self.token.as_ref().is_some_and(|token| token.is(text))
    }

    /// By the `Authorization` header.
    pub fn by_header(&self, header: &str) -> Who {
        let Some((scheme, rest)) = header.split_once(' ') else { return Who::Nobody };
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") && self.is_token(rest) {
            return Who::Operator;
        }
        if scheme.eq_ignore_ascii_case("basic") && self.is_user(rest) { Who::Viewer } else { Who::Nobody }
    }

    fn is_user(&self, coded: &str) -> bool {
        let Some(pair) = base64::decode(coded).and_then(|bytes| String::from_utf8(bytes).ok()) else { return false };
        let Some((name, password)) = pair.split_once(':') else { return false };
        // Every user is compared, so that the time does not tell which names there are.
        self.users.iter().fold(false, |found, (user, secret)| {
            let named = bool::from(Secret::of(user).0.ct_eq(&Secret::of(name).0));
            secret.is(password) & named | found
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_makes_an_operator_and_basic_auth_a_viewer() {
        let hash = Secret::of_hash("2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b").unwrap();
        let users = vec![("ann".to_owned(), Secret::of("s3cret:x")), ("bob".to_owned(), hash)];
        let auth = Auth { token: Some(Secret::of("0123456789abcdef")), users };
        let basic = |pair: &str| auth.by_header(&format!("Basic {}", base64::encode(pair.as_bytes())));
        assert_eq!(auth.by_header("Bearer 0123456789abcdef"), Who::Operator);
        assert_eq!(auth.by_header("bearer  0123456789abcdef"), Who::Operator);
        assert_eq!(auth.by_header("Bearer 0123456789abcde"), Who::Nobody);
        assert_eq!(basic("ann:s3cret:x"), Who::Viewer);
        assert_eq!(basic("bob:secret"), Who::Viewer);
        assert_eq!(basic("bob:s3cret:x"), Who::Nobody);
        assert_eq!(basic(":"), Who::Nobody);
        assert_eq!(auth.by_header("Basic %%%"), Who::Nobody);
        assert_eq!(Auth::default().by_header("Bearer "), Who::Nobody);
        assert_eq!(format!("{:?}", auth.token), "Some((secret))");
    }
}
