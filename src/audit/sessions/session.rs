//! One numbered session.

use serde::{Deserialize, Serialize};

use super::density::Recent;
use super::holes::{Filled, Hole, Holes, Loss};
use super::{Context, Lane, SessionRules};
use crate::audit::finding::{Finding, Grade, Span};
use crate::audit::patterns::sessions::Numbered;
use crate::identify::Arrival;
use crate::identify::observations::Says;

/// What a session did on one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Track {
    partition: i32,
    /// Largest number so far; RFC 4737's NextExp is this plus one.
    max: i64,
    last_offset: i64,
    arrivals: u64,
    recent: Recent,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub(super) label: String,
    pub topic: u32,
    pub(super) topic_name: String,
    /// The partition under partition scope.
    pub partition: Option<i32>,
    pub incarnation: u32,
    pub(super) from_beginning: bool,
    /// Smallest number known to belong to this incarnation; `None` before the first arrival.
    first: Option<i64>,
    /// Number it was declared to start with.
    pub(super) declared_start: Option<i64>,
    /// Number it declared as its last.
    pub(super) declared_end: Option<i64>,
    /// Smallest stream time of an arrival.
    began: i64,
    /// Content of the number the session starts with, to tell a reset from a repeated record.
    start: Option<(i64, u64)>,
    max: i64,
    holes: Holes,
    tracks: Vec<Track>,
}

impl Session {
    pub fn new(label: String, lane: &Lane<'_>, rules: &SessionRules) -> Self {
        Self {
            label,
            topic: lane.topic,
            topic_name: lane.topic_name.to_owned(),
            partition: (!rules.topic_scope).then_some(lane.partition),
            incarnation: 0,
            from_beginning: lane.from_beginning,
            first: None,
            declared_start: rules.start,
            declared_end: None,
            began: i64::MAX,
            start: None,
            max: -1,
            holes: Holes::default(),
            tracks: Vec::new(),
        }
    }

    pub fn next_incarnation(&self, lane: &Lane<'_>, rules: &SessionRules) -> Self {
        let mut next = Session::new(self.label.clone(), lane, rules);
        next.incarnation = self.incarnation + 1;
        next.from_beginning = true;
        next
    }

    pub fn numbered(&self) -> Option<Numbered> {
        Some(Numbered {
            topic: self.topic_name.clone(),
            partition: self.partition,
            session: self.name(),
            numbers: Span::new(self.first?, self.max + 1),
        })
    }

    pub fn is_waiting(&self) -> bool {
        !self.holes.waiting.is_empty()
    }

    /// Whether the arrival begins the session anew: it falls back to the start, with content that the start did not have.
    pub fn is_reset(&self, arrival: &Arrival, rules: &SessionRules) -> bool {
        let (Says::Number(number), Some(first)) = (arrival.says, self.first) else { return false };
        if number >= self.max || self.holes.waiting_at(number).is_some() {
            return false;
        }
        match self.start {
            Some((start, checksum)) if number == start => checksum != arrival.checksum,
            // Reading began in mid-session, so its start was never seen. What falls back at once is merely reordered.
            _ => number < first && number <= rules.start.unwrap_or(1) && !self.is_beginning(arrival, rules),
        }
    }

    /// Whether the arrival lies within the waiting time of the first one.
    fn is_beginning(&self, arrival: &Arrival, rules: &SessionRules) -> bool {
        arrival.stream_time <= self.began.saturating_add(rules.wait_ms)
    }

    pub fn arrive(&mut self, arrival: &Arrival, lane: &Lane<'_>, cx: &mut Context<'_>) {
        let number = match arrival.says {
            Says::Number(number) => number,
            Says::End(last) => return self.end(last, arrival, cx),
        };
        let track = self.track(lane.partition);
        match self.first {
            None => self.begin(number, arrival, cx),
            Some(_) if number > self.max => self.advance(number, track, arrival, cx),
            Some(first) => {
                self.fall(number, first, track, arrival, lane, cx);
                // After the fall: only what lies below the number is revealed by it, not the whole hole it was in.
                return self.reveal(number, arrival.stream_time);
            }
        }
        if arrival.stream_time > lane.slowest.saturating_add(cx.rules.wait_ms) {
            // A slower partition may still bring a larger number that came before it.
            let unrevealed = Hole { revealed: i64::MAX, ..self.hole(number + 1, arrival, -1) };
            let filled = self.filled(number, track, arrival, &unrevealed);
            self.holes.open(number, Hole { filled: Some(filled), ..unrevealed });
        }
        self.began = self.began.min(arrival.stream_time);
        self.tracks[track].take(number, arrival.offset);
    }

    fn track(&mut self, partition: i32) -> usize {
        if let Some(index) = self.tracks.iter().position(|track| track.partition == partition) {
            return index;
        }
        self.tracks.push(Track { partition, max: -1, last_offset: -1, arrivals: 0, recent: Recent::default() });
        self.tracks.len() - 1
    }

    fn begin(&mut self, number: i64, arrival: &Arrival, cx: &mut Context<'_>) {
        self.first = Some(number);
        self.max = number;
        let start = match cx.rules.start {
            Some(start) => start,
            // Undeclared: a session that begins at 0 or 1 began there; any other is met in its middle.
            None if number <= 1 => number,
            None => return,
        };
        if number == start {
            self.start = Some((number, arrival.checksum));
        } else if number > start {
            self.first = Some(start);
            cx.opened = Some(Span::new(start, number));
            self.holes.open(start, self.hole(number, arrival, -1));
        }
    }

    fn advance(&mut self, number: i64, track: usize, arrival: &Arrival, cx: &mut Context<'_>) {
        self.reveal(number, arrival.stream_time);
        if number > self.max + 1 {
            let before = self.tracks[track].last_offset;
            cx.opened = Some(Span::new(self.max + 1, number));
            self.holes.open(self.max + 1, self.hole(number, arrival, before));
        }
        self.max = number;
    }

    /// Within one partition stream time only rises, so the first larger number is the one that reveals.
    fn reveal(&mut self, number: i64, stream_time: i64) {
        if self.partition.is_none() {
            self.holes.reveal_below(number, stream_time);
        }
    }

    fn hole(&self, until: i64, arrival: &Arrival, before: i64) -> Hole {
        let between = if self.partition.is_some() { (before, arrival.offset) } else { (-1, -1) };
        let revealed_index = self.tracks.first().map_or(0, |track| track.arrivals);
        Hole { until, revealed: arrival.stream_time, revealed_index, between, filled: None }
    }

    /// A number at or below the largest one: it fills a hole, reverses a loss, or was here before.
    fn fall(
        &mut self,
        number: i64,
        first: i64,
        track: usize,
        arrival: &Arrival,
        lane: &Lane<'_>,
        cx: &mut Context<'_>,
    ) {
        if number < first && self.declared_start.is_none() && self.is_beginning(arrival, cx.rules) {
            // Reading began in mid-session, and a larger number came first: the session reaches further down.
            cx.opened = Some(Span::new(number + 1, first)).filter(|span| !span.is_empty());
            let revealed = Hole { revealed: self.began, ..self.hole(first, arrival, -1) };
            self.holes.open(number, revealed);
            self.first = Some(number);
        }
        self.began = self.began.min(arrival.stream_time);
        if let Some((from, hole)) = self.holes.waiting_at(number) {
            if hole.filled.is_some() {
                cx.figures.repeated += 1;
                return;
            }
            if self.start.is_none() && self.declared_start == Some(number) {
                self.start = Some((number, arrival.checksum));
            }
            let filled = self.filled(number, track, arrival, &hole);
            let earliest = hole.revealed.min(lane.slowest).saturating_add(cx.rules.wait_ms);
            let in_time = arrival.stream_time <= earliest;
            self.holes.fill(from, hole, number, (!in_time).then_some(filled));
            if in_time {
                self.in_time(number, track, &filled, cx);
            } else if self.partition.is_none() {
                // Whether it is late is not decided yet; the order on its own partition is.
                self.tracks[track].take(number, arrival.offset);
            }
        } else if let Some((from, loss)) = self.holes.lost_at(number) {
            match loss.late.binary_search(&number) {
                Ok(_) => cx.figures.repeated += 1,
                Err(at) => {
                    loss.late.insert(at, number);
                    loss.last_arrival = loss.last_arrival.max(Some(arrival.stream_time));
                    let loss = loss.clone();
                    cx.figures.lost -= 1;
                    cx.figures.late += 1;
                    let finding = self.loss_finding(from, &loss, cx.rules);
                    cx.out.push(finding);
                }
            }
        } else {
            cx.figures.repeated += 1;
        }
    }

    fn filled(&self, number: i64, track: usize, arrival: &Arrival, hole: &Hole) -> Filled {
        let track = &self.tracks[track];
        let degree = track.recent.degree(number);
        let extent = (number < track.max).then(|| match self.partition {
            Some(_) => track.arrivals.saturating_sub(hole.revealed_index),
            None => u64::from(degree.max(1)),
        });
        Filled {
            arrived: arrival.stream_time,
            late_by: arrival.stream_time.saturating_sub(hole.revealed),
            offset: arrival.offset,
            timestamp: arrival.timestamp,
            partition: track.partition,
            extent,
            degree,
        }
    }

    /// A number that filled its hole within the waiting time.
    fn in_time(&mut self, number: i64, track: usize, filled: &Filled, cx: &mut Context<'_>) {
        let track = &mut self.tracks[track];
        if filled.extent.is_none() {
            return track.take(number, filled.offset);
        }
        track.arrivals += 1;
        track.recent.displace(number, &mut cx.figures.density);
        self.reordered(number, filled, cx);
    }

    fn reordered(&self, number: i64, filled: &Filled, cx: &mut Context<'_>) {
        cx.figures.density.degree(filled.degree);
        cx.figures.reordered += 1;
        cx.out.push(self.reorder_finding(number, filled));
    }

    fn end(&mut self, last: i64, arrival: &Arrival, cx: &mut Context<'_>) {
        if self.first.is_none() || last < self.max {
            return;
        }
        self.declared_end = Some(last);
        if last > self.max {
            self.reveal(last + 1, arrival.stream_time);
            let before = self.tracks.first().map_or(-1, |track| track.last_offset);
            cx.opened = Some(Span::new(self.max + 1, last + 1));
            self.holes.open(self.max + 1, self.hole(last + 1, arrival, before));
            self.max = last;
        }
    }

    pub fn judge(&mut self, slowest: i64, cx: &mut Context<'_>) {
        for (number, filled) in self.holes.in_time(slowest, cx.rules.wait_ms) {
            if filled.extent.is_some() {
                self.reordered(number, &filled, cx);
            }
        }
        for run in self.holes.due(slowest, cx.rules.wait_ms) {
            self.judge_run(run, cx);
        }
    }

    fn judge_run(&mut self, run: Vec<(i64, Hole)>, cx: &mut Context<'_>) {
        let mut losses: Vec<(i64, Loss)> = Vec::new();
        for (from, hole) in run {
            // Those that came in time were taken out before.
            let (late, arrived) = (hole.filled.map(|_| from), hole.filled.map(|filled| filled.arrived));
            match losses.last_mut() {
                Some((_, loss)) if loss.until == from => {
                    loss.until = hole.until;
                    loss.late.extend(late);
                    loss.last_arrival = loss.last_arrival.max(arrived);
                }
                _ => {
                    let late = late.into_iter().collect();
                    losses.push((from, Loss { late, last_arrival: arrived, ..Loss::from(hole) }));
                }
            }
        }
        for (from, loss) in losses {
            cx.figures.lost += loss.missing(from);
            cx.figures.late += loss.late.len() as u64;
            cx.out.push(self.loss_finding(from, &loss, cx.rules));
            self.holes.lose(from, loss);
        }
    }

    pub fn pending(&self, rules: &SessionRules, out: &mut Vec<Finding>) {
        let mut at: Option<(i64, Loss)> = None;
        let mut flush = |at: Option<(i64, Loss)>| {
            if let Some((from, loss)) = at {
                let mut finding = self.loss_finding(from, &loss, rules);
                finding.grade = Grade::Possible;
                finding.why = format!("{}; the waiting time has not passed, so they may still arrive", finding.why);
                out.push(finding);
            }
        };
        for (&from, hole) in self.holes.waiting.iter().filter(|(_, hole)| hole.filled.is_none()) {
            match &mut at {
                Some((_, loss)) if loss.until == from => loss.until = hole.until,
                _ => flush(at.replace((from, Loss::from(*hole)))),
            }
        }
        flush(at);
    }
}

impl Track {
    fn take(&mut self, number: i64, offset: i64) {
        self.max = self.max.max(number);
        self.last_offset = self.last_offset.max(offset);
        self.arrivals += 1;
        self.recent.push(number, 0);
    }
}
