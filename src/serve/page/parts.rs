//! Pieces that many pages share: a figure that may be unknown, a verdict as a chip, a small curve, a command.

use askama::Template;
use askama::filters::HtmlSafe;

use super::curve::ahead;
use crate::alert::incident::{Incident, Severity};
use crate::audit::verdict::Verdict as AuditVerdict;
use crate::lag::figure::Figure;
use crate::lag::snapshot::{Forecast, Point};
use crate::lag::verdict::Verdict;
use crate::report::format::{ago, duration, shorten, thousands, utc, visible};

/// A number, or the word "unknown" with its reason.
#[derive(Template)]
#[template(
    source = "{% if let Some(why) = why %}<span class=\"faint\" title=\"{{ why }}\">unknown<span class=\"unseen\">: {{ why }}</span></span>{% else %}{{ text }}{% endif %}",
    ext = "html"
)]
pub struct Fig {
    pub text: String,
    pub why: Option<String>,
}

// Its own template has escaped it.
impl HtmlSafe for Fig {}

/// When something is expected, and what that rests on.
pub fn expected(forecast: &Forecast, now_ms: i64) -> (String, String) {
    let what = match forecast.what.as_str() {
        "catches-up" => "It catches up",
        "retention-overtakes" => "Retention overtakes it",
        "retention-fills" => "The log covers less than its retention",
        "volume-fills" => "It is full",
        other => other,
    };
    let when = match forecast.at_ms {
        Some(at_ms) => format!(" {}, at {}", ahead(at_ms, now_ms), utc(at_ms)),
        None => ": never, as things go".to_owned(),
    };
    let error = forecast.past_error.map(|error| format!("; earlier forecasts were {:.0} % off", error * 100.0));
    let assumption = format!("If {}{}.", forecast.assumption, error.unwrap_or_default());
    (format!("{}{when}", visible(what)), visible(&assumption).into_owned())
}

impl Fig {
    pub fn of<T>(figure: Figure<T>, show: impl FnOnce(T) -> String) -> Self {
        match figure {
            Ok(value) => Self { text: show(value), why: None },
            Err(why) => Self { text: String::new(), why: Some(why.to_string()) },
        }
    }

    /// A count, with separators.
    pub fn count(figure: Figure) -> Self {
        Self::of(figure, signed)
    }

    /// A position, as it is pasted into other tools.
    pub fn offset(figure: Figure) -> Self {
        Self::of(figure, |offset| offset.to_string())
    }

    pub fn time(figure: Figure) -> Self {
        Self::of(figure, |ms| duration(ms.max(0).unsigned_abs()))
    }
}

pub fn signed(n: i64) -> String {
    let digits = thousands(n.unsigned_abs());
    if n < 0 { format!("−{digits}") } else { digits }
}

/// A word with a colour; the word alone says it.
#[derive(Clone, Template)]
#[template(source = "<b class=\"chip {{ mood }}\">{{ word }}</b>", ext = "html")]
pub struct Chip {
    pub word: String,
    /// `good`, `warn`, `bad` or empty.
    pub mood: &'static str,
}

impl HtmlSafe for Chip {}

impl Chip {
    pub fn verdict(verdict: Verdict) -> Self {
        Self { word: verdict.name().to_owned(), mood: mood(verdict) }
    }

    pub fn audit(verdict: AuditVerdict) -> Self {
        Self { word: verdict.name().to_owned(), mood: audit_mood(verdict) }
    }

    pub fn severity(severity: Severity) -> Self {
        Self { word: severity.name().to_owned(), mood: severity_mood(severity) }
    }
}

pub fn mood(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "good",
        Verdict::Unknown => "",
        Verdict::Warn | Verdict::Flapping | Verdict::HangingTransaction => "warn",
        _ => "bad",
    }
}

pub fn audit_mood(verdict: AuditVerdict) -> &'static str {
    match verdict {
        AuditVerdict::Clean => "good",
        AuditVerdict::Inconclusive => "warn",
        AuditVerdict::Findings | AuditVerdict::Unverified => "bad",
    }
}

pub fn severity_mood(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "",
        Severity::Warning => "warn",
        Severity::Critical => "bad",
    }
}

/// A curve as small as a word.
#[derive(Template)]
#[template(
    source = "{% if !line.is_empty() %}<svg class=\"spark\" viewBox=\"0 0 100 20\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{{ title }}\"><title>{{ title }}</title><path d=\"{{ line }}\"/></svg>{% endif %}",
    ext = "html"
)]
pub struct Spark {
    line: String,
    title: String,
}

impl HtmlSafe for Spark {}

impl Spark {
    pub fn of(curve: &[Point]) -> Self {
        let (Some(first), Some(last)) = (curve.first(), curve.last()) else {
            return Self { line: String::new(), title: String::new() };
        };
        let most = curve.iter().map(|point| point.1).max().unwrap_or(0).max(1) as f64;
        let length = last.0.abs_diff(first.0).max(1) as f64;
        let place =
            |&(at, lag): &Point| (at.abs_diff(first.0) as f64 / length * 100.0, 19.0 - lag.max(0) as f64 / most * 18.0);
        // More points than this cannot be seen.
        let step = curve.len().div_ceil(60);
        let points = curve.iter().step_by(step).chain([last]).map(place);
        let title = format!(
            "offsets behind, from {} to {}, at most {}",
            signed(first.1),
            signed(last.1),
            thousands(most as u64)
        );
        Self { line: line(points), title }
    }
}

pub fn line(points: impl Iterator<Item = (f64, f64)>) -> String {
    let mut out = String::new();
    for (x, y) in points {
        out += &format!("{}{x:.1} {y:.1}", if out.is_empty() { "M" } else { "L" });
    }
    out
}

/// A command that can be pasted.
#[derive(Template)]
#[template(
    source = "<div class=\"command\"><code id=\"command\">{{ text }}</code><button type=\"button\" class=\"quiet\" data-copy=\"command\">copy</button></div>",
    ext = "html"
)]
pub struct Command {
    pub text: String,
}

impl HtmlSafe for Command {}

/// As an argument that a shell leaves alone.
pub fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false if text.chars().any(char::is_control) => {
            let escaped: String = text.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
            format!("$'{escaped}'")
        }
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// An incident in a list.
pub struct IncidentRow {
    pub chip: Chip,
    pub href: String,
    pub title: String,
    pub why: String,
    pub when: String,
    /// Only when it is not simply open.
    pub state: Option<&'static str>,
    pub runbook: Option<String>,
}

impl IncidentRow {
    pub fn of(incident: &Incident, now_ms: i64) -> Self {
        let state = crate::serve::metrics::incident_state(incident, now_ms);
        let when = match incident.opened_ms {
            Some(opened) => format!("opened {}, seen since {}", ago(opened, now_ms), utc(incident.since_ms)),
            None => format!("seen since {}", utc(incident.since_ms)),
        };
        let known = incident.acknowledged.as_ref();
        let known = known.map(|a| format!("; acknowledged by {}: {}", shorten(&a.by, 60), shorten(&a.note, 200)));
        Self {
            chip: Chip::severity(incident.severity),
            href: super::path("/incidents", &incident.id),
            title: title(incident),
            why: visible(&incident.observed.why).into_owned(),
            when: when + &known.unwrap_or_default(),
            state: (state != "open").then_some(state),
            runbook: runbook(incident),
        }
    }
}

/// `lag-stop of group pay on orders[3]`.
pub fn title(incident: &Incident) -> String {
    let key = &incident.observed.key;
    let mut out = shorten(&key.kind, 60);
    if let Some(group) = &key.group {
        out += &format!(" of {}", shorten(group, 80));
    }
    if let Some(topic) = &key.topic {
        let partition = key.partition.map(|partition| format!("[{partition}]")).unwrap_or_default();
        out += &format!(" on {}{partition}", shorten(topic, 80));
    }
    out
}

/// Only what a browser may follow without running it.
pub fn runbook(incident: &Incident) -> Option<String> {
    let url = incident.runbook.as_deref()?;
    let lower = url.to_ascii_lowercase();
    (lower.starts_with("https://") || lower.starts_with("http://")).then(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_a_quoted_name_as_one_argument() {
        for text in ["", "orders", "it's", "$(rm x)", "a b", "-x;y", "new\nline", "<script>"] {
            let out = std::process::Command::new("bash")
                .args(["-c", &format!("printf %s {}", quoted(text))])
                .output()
                .expect("bash is there");
            assert_eq!(String::from_utf8(out.stdout).unwrap(), text);
        }
    }

    #[test]
    fn a_runbook_is_a_web_page() {
        let mut incident = crate::serve::sample::board().incidents.load()[0].clone();
        assert!(runbook(&incident).is_some());
        for url in ["javascript:alert(1)", "data:text/html,x", " https://a", "//a"] {
            incident.runbook = Some(url.to_owned());
            assert_eq!(runbook(&incident), None, "{url}");
        }
    }
}
