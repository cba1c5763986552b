//! Values that must not be told: equal ones are told apart from others, and that is all.

use std::fmt;

use hmac::{Hmac, Mac as _};
use rand::RngCore as _;
use sha2::Sha256;

/// HMAC-SHA-256 (RFC 2104) under a key that only this process has: amounts and dates are few enough that whoever knows a plain
/// hash finds them by trying.
#[derive(Clone)]
pub struct Redaction(Hmac<Sha256>);

impl Redaction {
    /// Under a new key.
    pub fn fresh() -> Self {
        let mut key = [0; 64];
        rand::rng().fill_bytes(&mut key);
        Self(Hmac::new(&key.into()))
    }

    /// 16 hexadecimal digits.
    pub fn of(&self, text: &str) -> String {
        let mut hash = self.0.clone();
        hash.update(text.as_bytes());
        hash.finalize().into_bytes().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Never the key.
impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redaction")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_equal_in_one_run_alone() {
        let (one, other) = (Redaction::fresh(), Redaction::fresh());
        assert_eq!(one.of("10.00"), one.clone().of("10.00"));
        assert_ne!(one.of("10.00"), one.of("10.01"));
        assert_ne!(one.of("10.00"), other.of("10.00"));
        assert_eq!(one.of("").len(), 16);
    }
}
