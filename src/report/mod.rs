//! Renderers of a finished audit: terminal text, JSON lines, one HTML file, JUnit XML. Siblings behind [`write()`].
//!
//! A renderer knows the report and its [`Context`] and nothing else: no clock, no file but the writer it is given, and
//! nothing about how the audit ran. So the same report always gives the same bytes.

pub(crate) mod drift;
pub(crate) mod flow;
pub(crate) mod format;
pub(crate) mod group;
pub(crate) mod html;
mod json;
mod junit;
pub mod lag;
mod text;
pub(crate) mod topics;
pub(crate) mod words;

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::Path;

pub use format::{bytes, plural, thousands, utc};

use crate::audit::finding::Finding;
use crate::audit::verdict::Report;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people, in a terminal or a log.
    Text,
    /// One object a line: the contract for scripts.
    Json,
    /// One self-contained page.
    Html,
    /// JUnit XML for CI servers.
    Junit,
}

/// What a renderer cannot find in the report itself.
#[derive(Clone, Debug)]
pub struct Context {
    /// The time of the report, milliseconds since 1970.
    pub now_ms: i64,
    /// What was audited, for example `orders at kafka:9092`.
    pub source: String,
    /// Whether text may carry ANSI colours.
    pub color: bool,
    /// Columns that text may use.
    pub width: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A closed pipe is found here as [`io::ErrorKind::BrokenPipe`].
    #[error("cannot write the {format:?} report; check that its target is writable and has room")]
    Write { format: Format, source: io::Error },
}

pub fn write(format: Format, report: &Report, context: &Context, out: &mut dyn Write) -> Result<(), ReportError> {
    let written = match format {
        Format::Text => text::write(report, context, out),
        Format::Json => json::write(report, out),
        Format::Html => html::write(report, context, out),
        Format::Junit => junit::write(report, context, out),
    };
    written.map_err(|source| ReportError::Write { format, source })
}

/// Several pairs of stores: text tells each by itself, everything else is the report of `all`.
pub fn write_pairs(
    format: Format,
    pairs: &[(String, Report)],
    all: &Report,
    context: &Context,
    out: &mut dyn Write,
) -> Result<(), ReportError> {
    match format {
        Format::Text => {
            text::write_pairs(pairs, all, context, out).map_err(|source| ReportError::Write { format, source })
        }
        _ => write(format, all, context, out),
    }
}

/// One finding as soon as it is certain, on one line: an audit that follows has no end to wait for.
pub fn write_finding(
    format: Format,
    finding: &Finding,
    context: &Context,
    out: &mut dyn Write,
) -> Result<(), ReportError> {
    let written = match format {
        Format::Json => json::write_finding(finding, out),
        Format::Text | Format::Html | Format::Junit => text::write_finding(finding, context, out),
    };
    written.map_err(|source| ReportError::Write { format, source })
}

/// The format that a file's extension asks for.
pub fn format_of(path: Option<&Path>) -> Format {
    let extension = path.and_then(Path::extension).and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    match extension.as_str() {
        "html" | "htm" => Format::Html,
        "xml" => Format::Junit,
        "json" | "jsonl" => Format::Json,
        _ => Format::Text,
    }
}
