//! An incoming webhook as Slack, Mattermost and Rocket.Chat have it.

use serde_json::{Value, json};
use ureq::http::{Method, Uri};

use super::http::{self, Client};
use super::{DEFAULT_TIMEOUT, Secret, Sink};
use crate::alert::error::{AlertError, Result};
use crate::alert::incident::Severity;
use crate::alert::message::{Item, Message, Place};
use crate::alert::outbox::{Batch, Failure, News};
use crate::config::alert::SlackFile;

pub struct Slack {
    client: Client,
    url: Uri,
    channel: Option<String>,
    username: Option<String>,
    place: Place,
}

impl Slack {
    pub fn new(file: &SlackFile, place: &Place) -> Result<Self> {
        Self::build(file, place).map_err(|what| AlertError::sink(&file.name, what))
    }

    fn build(file: &SlackFile, place: &Place) -> std::result::Result<Self, String> {
        let url = match (&file.url, &file.url_file) {
            (Some(url), None) => url.clone(),
            (None, Some(path)) => Secret::new(path)?.read()?,
            _ => return Err("give one of url and url-file".to_owned()),
        };
        Ok(Self {
            client: Client::new(file.timeout.unwrap_or(DEFAULT_TIMEOUT), None)?,
            url: http::url(&url)?,
            channel: file.channel.clone(),
            username: file.username.clone(),
            place: place.clone(),
        })
    }

    fn payload(&self, message: &Message) -> Value {
        let mut attachments: Vec<Value> = message.incidents.iter().map(attachment).collect();
        if message.more > 0 {
            attachments.push(json!({ "text": format!("and {} more", message.more) }));
        }
        let mut payload = json!({ "text": escape(&message.summary), "attachments": attachments });
        for (name, value) in [("channel", &self.channel), ("username", &self.username)] {
            if let Some(value) = value {
                payload[name] = json!(value);
            }
        }
        payload
    }
}

fn attachment(item: &Item) -> Value {
    let color = match (item.news, item.severity) {
        (News::Resolved, _) => "good",
        (_, Severity::Critical) => "danger",
        (_, Severity::Warning) => "warning",
        (_, Severity::Info) => "#439fe0",
    };
    let mut text = escape(&item.why);
    if item.news != News::Resolved {
        if !item.command.is_empty() {
            // A backtick would end the code.
            text += &format!("\n`{}`", escape(&item.command.replace('`', "'")));
        }
        if let Some(runbook) = &item.runbook {
            text += &format!("\n<{}|runbook>", link(runbook));
        }
    }
    let mut attachment = json!({
        "color": color,
        "title": escape(&item.about),
        "text": text,
        "fallback": escape(&format!("{}: {}", item.about, item.why)),
    });
    if let Some(url) = &item.url {
        attachment["title_link"] = json!(url);
    }
    attachment
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn link(url: &str) -> String {
    escape(url).replace('|', "%7C")
}

impl Sink for Slack {
    fn send(&self, batch: &Batch, _now_ms: i64) -> std::result::Result<(), Failure> {
        let body = self.payload(&Message::new(batch, &self.place)).to_string();
        let headers = [
            ("Content-Type".to_owned(), "application/json".to_owned()),
            ("Idempotency-Key".to_owned(), batch.id.clone()),
        ];
        self.client.send(&Method::POST, &self.url, &headers, body.as_bytes())
    }
}
