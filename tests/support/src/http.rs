//! Questions to servers on loopback.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;

const LIMIT: Duration = Duration::from_secs(30);

fn agent() -> Agent {
    Agent::config_builder().timeout_global(Some(LIMIT)).http_status_as_error(false).build().into()
}

/// Status and body.
pub fn get(url: &str) -> Result<(u16, String), String> {
    answer(agent().get(url).call())
}

pub fn post(url: &str, body: &Value) -> Result<(u16, String), String> {
    answer(agent().post(url).send_json(body))
}

fn answer(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<(u16, String), String> {
    let mut answer = answer.map_err(|error| error.to_string())?;
    let body = answer.body_mut().with_config().limit(1 << 30).read_to_string().map_err(|error| error.to_string())?;
    Ok((answer.status().as_u16(), body))
}

/// The JSON of an answer; panics unless the status is 200.
pub fn json(url: &str) -> Value {
    parsed(url, get(url))
}

pub(crate) fn parsed(url: &str, answer: Result<(u16, String), String>) -> Value {
    match answer {
        Ok((200, body)) => serde_json::from_str(&body).unwrap_or_else(|error| panic!("{url}: {error} in {body}")),
        other => panic!("{url}: {other:?}"),
    }
}

/// Whether the server answers with 200.
pub(crate) fn is_ready(url: &str) -> bool {
    matches!(get(url), Ok((200, _)))
}

/// A text as one part of a query string.
pub fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
