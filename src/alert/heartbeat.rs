//! The dead man's switch: a URL that is called as long as sordini observes; the service behind it tells when the calls
//! stop. It must not know what observing is.

use std::time::Duration;

use ureq::http::{Method, Uri};

use super::error::{AlertError, Result};
use super::outbox::Failure;
use super::rules::millis;
use super::sinks::http::{self, Client};
use crate::config::alert::HeartbeatFile;

pub struct Heartbeat {
    client: Client,
    method: Method,
    url: Uri,
    pub interval_ms: i64,
}

impl Heartbeat {
    /// Absent when there is no URL to call.
    pub fn new(file: &HeartbeatFile) -> Result<Option<Self>> {
        let failed = |what: String| AlertError::Heartbeat { what };
        let Some(url) = &file.url else { return Ok(None) };
        let method = match file.method.as_deref().unwrap_or("POST") {
            "POST" => Method::POST,
            "GET" => Method::GET,
            other => return Err(failed(format!("method \"{other}\" is not GET or POST"))),
        };
        let interval = file.interval.unwrap_or(Duration::from_secs(60));
        Ok(Some(Self {
            client: Client::new(Duration::from_secs(10), file.ca_file.as_deref()).map_err(failed)?,
            method,
            url: http::url(url).map_err(failed)?,
            interval_ms: millis(interval).max(1),
        }))
    }

    pub fn beat(&self) -> std::result::Result<(), Failure> {
        self.client.send(&self.method, &self.url, &[], b"")
    }
}
