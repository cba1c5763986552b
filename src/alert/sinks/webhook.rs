//! A webhook: any URL, any headers, a body by template or all fields as JSON, signed when there is a secret.
//!
//! The receiver takes a message by its `Idempotency-Key` once. It checks `X-Sordini-Signature`, which is
//! `sha256=HMAC-SHA256(secret, timestamp + "." + body)`, and that `X-Sordini-Timestamp`, seconds since 1970, is not old.

use ureq::http::{HeaderName, HeaderValue, Method, Uri};

use super::http::{self, Client};
use super::template::Template;
use super::{DEFAULT_TIMEOUT, Secret, Sink};
use crate::alert::error::{AlertError, Result};
use crate::alert::message::{Message, Place};
use crate::alert::outbox::{Batch, Failure};
use crate::config::alert::WebhookFile;

pub struct Webhook {
    client: Client,
    method: Method,
    url: Uri,
    headers: Vec<(String, String)>,
    template: Option<Template>,
    secret: Option<Secret>,
    place: Place,
}

/// Written by sordini itself.
const RESERVED: [&str; 4] = ["idempotency-key", "x-sordini-signature", "x-sordini-timestamp", "content-length"];

impl Webhook {
    pub fn new(file: &WebhookFile, place: &Place) -> Result<Self> {
        Self::build(file, place).map_err(|what| AlertError::sink(&file.name, what))
    }

    fn build(file: &WebhookFile, place: &Place) -> std::result::Result<Self, String> {
        let method = match file.method.as_deref().unwrap_or("POST") {
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            "PATCH" => Method::PATCH,
            other => return Err(format!("method \"{other}\" is not POST, PUT or PATCH")),
        };
        let mut headers: Vec<(String, String)> = Vec::new();
        for (name, value) in &file.headers {
            let is_fine = name.parse::<HeaderName>().is_ok() && value.parse::<HeaderValue>().is_ok();
            if !is_fine || RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
                return Err(format!("the header \"{name}\" cannot be set"));
            }
            headers.push((name.clone(), value.clone()));
        }
        let content_type = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let is_json = content_type.is_none_or(|(_, value)| value.contains("json"));
        if content_type.is_none() {
            headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
        }
        let text = match (&file.template, &file.template_file) {
            (Some(_), Some(_)) => return Err("give template or template-file, not both".to_owned()),
            (Some(text), None) => Some(text.clone()),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path);
                Some(text.map_err(|error| format!("reading {}: {error}", path.display()))?)
            }
            (None, None) => None,
        };
        let client = Client::new(file.timeout.unwrap_or(DEFAULT_TIMEOUT), file.ca_file.as_deref())?.with_auth(
            file.username.as_deref(),
            file.password_file.as_ref(),
            file.bearer_file.as_ref(),
        )?;
        Ok(Self {
            client,
            method,
            url: http::url(&file.url)?,
            headers,
            template: text.map(|text| Template::new(text, is_json, place)).transpose()?,
            secret: file.secret_file.as_deref().map(Secret::new).transpose()?,
            place: place.clone(),
        })
    }

    fn body(&self, message: &Message) -> std::result::Result<String, String> {
        match &self.template {
            None => serde_json::to_string(message).map_err(|error| error.to_string()),
            Some(template) => {
                let body = template.render(message)?;
                if template.is_json() && serde_json::from_str::<serde::de::IgnoredAny>(&body).is_err() {
                    return Err("the template gave no JSON".to_owned());
                }
                Ok(body)
            }
        }
    }
}

impl Sink for Webhook {
    fn send(&self, batch: &Batch, now_ms: i64) -> std::result::Result<(), Failure> {
        let body = self.body(&Message::new(batch, &self.place)).map_err(|why| Failure::Never { why })?;
        let timestamp = http::seconds(now_ms).to_string();
        let mut headers = self.headers.clone();
        headers.push(("Idempotency-Key".to_owned(), batch.id.clone()));
        headers.push(("X-Sordini-Timestamp".to_owned(), timestamp.clone()));
        if let Some(secret) = &self.secret {
            let signed = secret
                .read()
                .and_then(|secret| http::hmac_hex(secret.as_bytes(), &[timestamp.as_bytes(), b".", body.as_bytes()]));
            let signature = signed.map_err(|why| Failure::Later { why, after: None, is_sink_wide: true })?;
            headers.push(("X-Sordini-Signature".to_owned(), format!("sha256={signature}")));
        }
        self.client.send(&self.method, &self.url, &headers, body.as_bytes())
    }
}
