//! An answer as people read it.

use std::io::{self, Write};

use super::show::Records;
use crate::audit::finding::{Finding, State};
use crate::engine::trace::path::{At, Path, Status};
use crate::engine::trace::{Arrival, Found, Standing, Traced};
use crate::report::format::visible;
use crate::report::{thousands, utc};

pub fn write(traced: &Traced, records: &Records, out: &mut dyn Write) -> io::Result<()> {
    for way in traced.known_ways() {
        write_way(way, traced, records, out)?;
    }
    let is_told = !traced.ways.is_empty();
    for found in traced.found.iter().filter(|found| !is_told && !found.arrivals.is_empty()) {
        writeln!(out, "identity {}", found.identity)?;
        let width = found.arrivals.iter().map(|arrival| place(arrival).len()).max().unwrap_or(0);
        for arrival in &found.arrivals {
            write_arrival("", width, arrival, records, out)?;
        }
        write_rest(found, out)?;
    }
    Ok(())
}

/// Stage by stage, then what was found, then all in one sentence.
fn write_way(way: &Path, traced: &Traced, records: &Records, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "transaction {} of flow {}", way.id, way.flow)?;
    let name_width = way.stages.iter().map(|at| at.stage.chars().count()).max().unwrap_or(0) + 2;
    let arrivals = || way.stages.iter().flat_map(|at| &at.arrivals);
    let width = arrivals().map(|arrival| place(arrival).len()).max().unwrap_or(0);
    for at in &way.stages {
        let stage = format!("{:name_width$}", at.stage);
        for arrival in &at.arrivals {
            write_arrival(&stage, width, arrival, records, out)?;
        }
        if at.status != Status::Seen {
            writeln!(out, "  {stage}{}", missing(at))?;
        }
    }
    let own = |found: &&Found| arrivals().any(|arrival| found.arrivals.contains(arrival));
    for found in traced.found.iter().filter(own) {
        write_rest(found, out)?;
    }
    way.findings.iter().try_for_each(|finding| write_finding(finding, out))?;
    writeln!(out, "  {}", visible(&way.says))
}

fn missing(at: &At) -> &'static str {
    match at.status {
        Status::Seen => "seen",
        Status::Lost if !at.arrivals.is_empty() => "some are missing",
        Status::Lost => "missing",
        Status::Waiting => "not yet",
        Status::Absent => "never seen",
        Status::Uncovered => "not seen, and not all is covered",
        Status::NotNeeded => "not needed",
        Status::NotReached => "not reached",
    }
}

fn place(arrival: &Arrival) -> String {
    format!("{}[{}]@{}", arrival.topic, arrival.partition, arrival.offset)
}

fn write_arrival(
    stage: &str,
    width: usize,
    arrival: &Arrival,
    records: &Records,
    out: &mut dyn Write,
) -> io::Result<()> {
    let time = utc(i64::from(arrival.second) * 1000);
    let producer = match arrival.producer {
        Some((id, epoch)) => format!("producer {id} epoch {epoch}"),
        None => "producer unknown".to_owned(),
    };
    let (checksum, state) = (arrival.checksum.0 as u64, said(arrival.state));
    writeln!(out, "  {stage}{:width$}  {time}  checksum {checksum:016x}  {producer}  {state}", place(arrival))?;
    records.text(arrival, out)
}

/// How many more there were, and what was found of them.
fn write_rest(found: &Found, out: &mut dyn Write) -> io::Result<()> {
    if found.counted > found.arrivals.len() as u64 {
        writeln!(out, "  {} arrivals in all; the earliest are listed", thousands(found.counted))?;
    }
    found.findings.iter().try_for_each(|finding| write_finding(finding, out))
}

fn write_finding(finding: &Finding, out: &mut dyn Write) -> io::Result<()> {
    let state = match finding.state {
        State::Open => "",
        State::Resolved => ", resolved",
    };
    let (kind, grade, id) = (finding.kind, finding.grade.name(), &finding.id);
    writeln!(out, "  {kind} ({grade}{state}, {id}): {}", visible(&finding.why))
}

fn said(state: Standing) -> &'static str {
    match state {
        Standing::Kept => "kept",
        Standing::Repeat => "came again",
        Standing::Buffered => "just read, not compared yet",
    }
}
