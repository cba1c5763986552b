//! E-mail by SMTP. A message has the same `Message-ID` whenever it is sent again, and the end of an incident belongs to
//! the thread of its opening.

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{SmtpTransport, Transport};

use super::{DEFAULT_TIMEOUT, Secret, Sink};
use crate::alert::error::{AlertError, Result};
use crate::alert::message::{Message, Place};
use crate::alert::outbox::{Batch, Failure};
use crate::config::alert::{EmailFile, SmtpTls};

pub struct Email {
    file: EmailFile,
    tls: Tls,
    port: u16,
    from: Mailbox,
    to: Vec<Mailbox>,
    password: Option<Secret>,
    place: Place,
}

impl Email {
    pub fn new(file: &EmailFile, place: &Place) -> Result<Self> {
        Self::build(file, place).map_err(|what| AlertError::sink(&file.name, what))
    }

    fn build(file: &EmailFile, place: &Place) -> std::result::Result<Self, String> {
        let mailbox = |text: &String| {
            text.parse::<Mailbox>()
                .map_err(|error| format!("\"{text}\" is no address ({error}); write it as in a@b.org"))
        };
        if file.to.is_empty() {
            return Err("to names nobody".to_owned());
        }
        if file.username.is_some() != file.password_file.is_some() {
            return Err("username and password-file belong together".to_owned());
        }
        if file.tls == SmtpTls::None && file.username.is_some() {
            return Err("a password is not sent without tls; set tls to starttls or tls".to_owned());
        }
        let parameters = || {
            let mut builder = TlsParameters::builder(file.host.clone());
            if let Some(path) = &file.ca_file {
                let text = std::fs::read(path).map_err(|error| format!("reading {}: {error}", path.display()))?;
                let ca = Certificate::from_pem(&text).map_err(|error| format!("{}: {error}", path.display()))?;
                builder = builder.add_root_certificate(ca);
            }
            builder.build_rustls().map_err(|error| error.to_string())
        };
        let (tls, port) = match file.tls {
            SmtpTls::Tls => (Tls::Wrapper(parameters()?), 465),
            SmtpTls::Starttls => (Tls::Required(parameters()?), 587),
            SmtpTls::None => (Tls::None, 25),
        };
        Ok(Self {
            tls,
            port: file.port.unwrap_or(port),
            from: mailbox(&file.from)?,
            to: file.to.iter().map(mailbox).collect::<std::result::Result<_, _>>()?,
            password: file.password_file.as_deref().map(Secret::new).transpose()?,
            place: place.clone(),
            file: file.clone(),
        })
    }

    fn letter(&self, batch: &Batch) -> std::result::Result<lettre::Message, String> {
        let message = Message::new(batch, &self.place);
        let domain = self.from.email.domain();
        // A line break would end the header.
        let subject: String = message.summary.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
        let mut letter = lettre::Message::builder()
            .from(self.from.clone())
            .subject(subject)
            .message_id(Some(format!("<{}@{domain}>", message.id)));
        for to in &self.to {
            letter = letter.to(to.clone());
        }
        if let [notice] = &batch.notices[..] {
            let first = format!("<{}-1@{domain}>", notice.incident.id);
            if first != format!("<{}@{domain}>", message.id) {
                letter = letter.in_reply_to(first.clone()).references(first);
            }
        }
        letter.header(ContentType::TEXT_PLAIN).body(text(&message)).map_err(|error| error.to_string())
    }
}

fn text(message: &Message) -> String {
    let mut text = format!("{}\n", message.summary);
    for item in &message.incidents {
        text += &format!("\n{} ({})\n", item.about, item.severity.name());
        text += &format!("  {}\n", item.why);
        let lines = [
            ("since", Some(&item.since)),
            ("resolved", item.resolved.as_ref()),
            ("look closer", Some(&item.command).filter(|command| !command.is_empty())),
            ("runbook", item.runbook.as_ref()),
            ("page", item.url.as_ref()),
        ];
        for (name, value) in lines {
            text += &value.map(|value| format!("  {name}: {value}\n")).unwrap_or_default();
        }
    }
    if message.more > 0 {
        text += &format!("\nand {} more\n", message.more);
    }
    text + &format!("\n-- \nsordini, cluster {}, {}\n", message.cluster, message.instance)
}

impl Sink for Email {
    fn send(&self, batch: &Batch, _now_ms: i64) -> std::result::Result<(), Failure> {
        let later = |why: String| Failure::Later { why, after: None, is_sink_wide: true };
        let letter = self.letter(batch).map_err(|why| Failure::Never { why })?;
        let mut transport = SmtpTransport::builder_dangerous(&self.file.host)
            .port(self.port)
            .tls(self.tls.clone())
            .timeout(Some(self.file.timeout.unwrap_or(DEFAULT_TIMEOUT)));
        if let (Some(username), Some(password)) = (&self.file.username, &self.password) {
            transport = transport.credentials(Credentials::new(username.clone(), password.read().map_err(later)?));
        }
        match transport.build().send(&letter) {
            Ok(_) => Ok(()),
            Err(error) => {
                let why = format!("{}: {}", self.file.host, said(&error));
                Err(if error.is_permanent() { Failure::Never { why } } else { later(why) })
            }
        }
    }
}

fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text += &format!(": {cause_text}");
        }
        source = cause.source();
    }
    text
}
