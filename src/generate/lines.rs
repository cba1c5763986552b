//! A plan as JSON lines, in the form `kcat -C -J` prints. Offsets count up from 0 in each partition.

use std::io::Write;

use serde::Serialize;

use super::GenerateError;
use super::fault::FaultKind;
use super::plan::Plan;
use super::truth::{Position, Truth};

#[derive(Serialize)]
struct Line<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    tstype: &'static str,
    ts: i64,
    headers: Vec<&'a str>,
    key: &'a str,
    payload: Option<&'a str>,
}

/// Writes the whole plan and returns the truth about it.
pub fn write(mut plan: Plan, out: &mut dyn Write) -> Result<Truth, GenerateError> {
    if plan.abort_pacer().is_some() {
        return Err(GenerateError::Mode(format!(
            "{} needs transactions; send to Kafka in transactional mode, or leave it out",
            FaultKind::AbortTransaction(1.0).name()
        )));
    }
    let topics = plan.topics().to_vec();
    let mut next_offsets = vec![vec![0i64; plan.partitions().unsigned_abs() as usize]; topics.len()];
    while let Some(record) = plan.next() {
        let next = &mut next_offsets[record.stage][record.partition.unsigned_abs() as usize];
        let position = Position { partition: record.partition, offset: *next };
        *next += 1;
        let line = Line {
            topic: &topics[record.stage],
            partition: position.partition,
            offset: position.offset,
            tstype: "create",
            ts: record.timestamp,
            headers: record.headers.iter().flat_map(|(name, value)| [*name, value.as_str()]).collect(),
            key: &record.key,
            payload: record.value.as_deref(),
        };
        serde_json::to_writer(&mut *out, &line).map_err(std::io::Error::from)?;
        out.write_all(b"\n")?;
        if let Some(mark) = record.mark {
            plan.position(mark, position);
        }
    }
    out.flush()?;
    Ok(plan.into_truth())
}
