//! stub
use crate::audit::{finding::Finding, verdict::Report};
use std::io::Write;
use std::path::Path;
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Text,
    Json,
    Html,
    Junit,
}
pub struct Context {
    pub now_ms: i64,
    pub source: String,
    pub color: bool,
    pub width: usize,
}
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}
pub fn write(_f: Format, r: &Report, _c: &Context, out: &mut dyn Write) -> Result<(), ReportError> {
    for f in &r.findings {
        let mut v = serde_json::to_value(f)?;
        v["type"] = "finding".into();
        writeln!(out, "{v}")?;
    }
    for f in &r.coverage {
        let mut v = serde_json::to_value(f)?;
        v["type"] = "coverage".into();
        writeln!(out, "{v}")?;
    }
    let mut v = serde_json::to_value(&r.summary)?;
    v["type"] = "summary".into();
    writeln!(out, "{v}")?;
    Ok(())
}
pub fn write_finding(_f: Format, f: &Finding, _c: &Context, out: &mut dyn Write) -> Result<(), ReportError> {
    writeln!(out, "{}", serde_json::to_value(f)?)?;
    Ok(())
}
pub fn format_of(_p: Option<&Path>) -> Format {
    Format::Text
}
