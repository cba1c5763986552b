//! JSON lines: the contract scripts rely on. Findings first, then coverage, last the summary. Fields are added, never
//! renamed; their names and order are those of the types themselves.

use std::io::{self, Write};

use serde::Serialize;

use crate::audit::coverage::Coverage;
use crate::audit::finding::Finding;
use crate::audit::verdict::{Report, Summary};

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Line<'a> {
    Finding(&'a Finding),
    Coverage(&'a Coverage),
    Summary(&'a Summary),
}

pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for finding in &report.findings {
        write_line(&Line::Finding(finding), out)?;
    }
    for coverage in &report.coverage {
        write_line(&Line::Coverage(coverage), out)?;
    }
    write_line(&Line::Summary(&report.summary), out)
}

/// One finding as its line, for an audit that follows and reports each finding as it becomes certain.
pub fn write_finding(finding: &Finding, out: &mut dyn Write) -> io::Result<()> {
    write_line(&Line::Finding(finding), out)
}

fn write_line(line: &Line<'_>, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}
