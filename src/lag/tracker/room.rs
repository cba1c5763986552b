//! How much room the logs have: what topics are meant to keep, and how the volumes fill.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::marks::Marks;
use crate::lag::facts::Space;
use crate::lag::forecast::{RETENTION_FILLS, Scored, VOLUME_FILLS, retention_fills, volume_fills};
use crate::lag::snapshot::{Forecast, Point, VolumeRoom};

/// Points kept of a volume; asked once a minute, the nearer half covers two hours.
const POINTS: usize = 240;
/// A volume with less than this share of its bytes left counts as full: brokers fail before the last byte.
const FULL: i64 = 100;

#[derive(Default, Serialize, Deserialize)]
pub struct Room {
    retention_ms: HashMap<Arc<str>, i64>,
    volumes: BTreeMap<(i32, Arc<str>), Volume>,
    logs: BTreeMap<(Arc<str>, i32), Scored>,
}

#[derive(Default, Serialize, Deserialize)]
struct Volume {
    total_bytes: i64,
    usable: Vec<Point>,
    scored: Scored,
}

impl Room {
    /// What is no longer told of is forgotten; a broker that could not be asked keeps its past.
    pub fn take(&mut self, space: Space, at_ms: i64) {
        if !space.retention_ms.is_empty() {
            self.retention_ms = space.retention_ms;
        }
        for found in space.volumes {
            let volume = self.volumes.entry((found.broker, found.path)).or_default();
            volume.total_bytes = found.total_bytes;
            volume.usable.push((at_ms, found.usable_bytes));
            if volume.usable.len() > POINTS {
                super::thin(&mut volume.usable);
            }
        }
    }

    /// When each log no longer covers what it is meant to.
    pub fn logs(
        &mut self,
        partitions: &HashMap<(Arc<str>, i32), Marks>,
        now_ms: i64,
    ) -> HashMap<(Arc<str>, i32), Forecast> {
        let mut forecasts = HashMap::new();
        for (at, marks) in partitions {
            let Some(&retention_ms) = self.retention_ms.get(&at.0) else { continue };
            let Some(mut forecast) = retention_fills(marks.kept(), retention_ms, now_ms) else { continue };
            let scored = self.logs.entry(at.clone()).or_default();
            score(scored, &mut forecast, RETENTION_FILLS, now_ms);
            forecasts.insert(at.clone(), forecast);
        }
        self.logs.retain(|at, _| forecasts.contains_key(at));
        forecasts
    }

    pub fn volumes(&mut self, now_ms: i64) -> Vec<VolumeRoom> {
        let show = |((broker, path), volume): (&(i32, Arc<str>), &mut Volume)| {
            let usable_bytes = volume.usable.last()?.1;
            let mut forecast = volume_fills(&volume.usable, now_ms);
            if let Some(forecast) = &mut forecast {
                if usable_bytes < volume.total_bytes / FULL {
                    forecast.at_ms = Some(now_ms);
                }
                score(&mut volume.scored, forecast, VOLUME_FILLS, now_ms);
            }
            let total_bytes = volume.total_bytes;
            Some(VolumeRoom { broker: *broker, path: path.clone(), total_bytes, usable_bytes, forecast })
        };
        self.volumes.iter_mut().filter_map(show).collect()
    }
}

fn score(scored: &mut Scored, forecast: &mut Forecast, what: &str, now_ms: i64) {
    if forecast.at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
        scored.happened(what, now_ms);
    }
    scored.overdue(now_ms);
    scored.made(forecast, now_ms);
}
