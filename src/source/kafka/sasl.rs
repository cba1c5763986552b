//! The client's side of SASL: PLAIN, SCRAM and OAUTHBEARER, as bytes; the connection carries them.

use std::process::Command;

use rsasl::prelude::{Mechname, SASLClient, SASLConfig, Session, State};

use super::config::{SaslConfig, Token};

/// An authentication under way: takes the broker's bytes, gives the client's.
pub enum Exchange {
    /// One message says it all.
    Single(Option<Vec<u8>>),
    Scram(Box<Session>),
}

/// What a client says to a broker that explained why it refuses a token (RFC 7628 §3.2.3).
const REFUSAL_HEARD: &[u8] = b"\x01";

impl Exchange {
    pub fn begin(config: &SaslConfig) -> Result<Self, String> {
        match config {
            // RFC 4616: no authorization id, user, password.
            SaslConfig::Plain { username, password } => {
                Ok(Exchange::Single(Some(format!("\0{username}\0{password}").into_bytes())))
            }
            // RFC 7628 §3.1.
            SaslConfig::OAuthBearer(token) => {
                let token = token.get()?;
                Ok(Exchange::Single(Some(format!("n,,\x01auth=Bearer {token}\x01\x01").into_bytes())))
            }
            // RFC 5802.
            SaslConfig::Scram { mechanism, username, password } => {
                let config = SASLConfig::with_credentials(None, username.clone(), password.clone())
                    .map_err(|error| error.to_string())?;
                let name = Mechname::parse(mechanism.as_bytes()).map_err(|error| error.to_string())?;
                let session = SASLClient::new(config).start_suggested(&[name]).map_err(|error| error.to_string())?;
                Ok(Exchange::Scram(Box::new(session)))
            }
        }
    }

    /// The next message to send, or `None` when the exchange is over. `heard` is the broker's last message.
    pub fn step(&mut self, heard: Option<&[u8]>) -> Result<Option<Vec<u8>>, String> {
        match self {
            Exchange::Single(message) => match (message.take(), heard) {
                (Some(message), _) => Ok(Some(message)),
                // A refused token comes without an error code, its reason as JSON; the code comes with the next answer.
                (None, Some(reason)) if !reason.is_empty() => {
                    tracing::info!(reason = %String::from_utf8_lossy(reason), "the broker refuses the token");
                    Ok(Some(REFUSAL_HEARD.to_vec()))
                }
                (None, _) => Ok(None),
            },
            Exchange::Scram(session) => {
                let mut said = Vec::new();
                let state = session.step(heard, &mut said).map_err(|error| error.to_string())?;
                match state {
                    State::Running => Ok(Some(said)),
                    State::Finished(_) if said.is_empty() => Ok(None),
                    State::Finished(_) => Ok(Some(said)),
                }
            }
        }
    }
}

impl Token {
    fn get(&self) -> Result<String, String> {
        match self {
            Token::Text(token) => Ok(token.clone()),
            Token::Command(command) => {
                let failed = |why: String| format!("sordini.oauth.token.command: {why}");
                let output =
                    Command::new("sh").args(["-c", command]).output().map_err(|error| failed(error.to_string()))?;
                if !output.status.success() {
                    let said = String::from_utf8_lossy(&output.stderr);
                    return Err(failed(format!("{} ({})", output.status, said.trim())));
                }
                let token = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                if token.is_empty() { Err(failed("it printed nothing".to_owned())) } else { Ok(token) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_bearer_say_it_in_one_message() {
        let plain = SaslConfig::Plain { username: "u".to_owned(), password: "p".to_owned() };
        let mut exchange = Exchange::begin(&plain).unwrap();
        assert_eq!(exchange.step(None).unwrap().as_deref(), Some(&b"\0u\0p"[..]));
        assert_eq!(exchange.step(Some(b"")).unwrap(), None);
        let bearer = SaslConfig::OAuthBearer(Token::Command("echo abc".to_owned()));
        let said = Exchange::begin(&bearer).unwrap().step(None).unwrap();
        assert_eq!(said.as_deref(), Some(&b"n,,\x01auth=Bearer abc\x01\x01"[..]));
    }

    #[test]
    fn a_token_command_that_fails_says_so() {
        let bearer = SaslConfig::OAuthBearer(Token::Command("echo no >&2; exit 3".to_owned()));
        let error = Exchange::begin(&bearer).err().unwrap();
        assert!(error.contains("no") && error.contains('3'), "{error}");
    }
}
