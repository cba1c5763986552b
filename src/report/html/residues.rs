//! The residue plot of a periodic loss: a bar for each residue of its period, the peak marked, and the numbers that
//! will be lost next.

use serde::de::DeserializeOwned;

use super::clean;
use super::strips::Block;
use crate::audit::finding::{Finding, Kind};
use crate::audit::patterns::periodic::Residues;
use crate::report::format::{thousands, utc};

const WIDTH: f64 = 720.0;
/// Above it stand the words of the peak, below [`FOOT`] those of the axis.
const TOP: f64 = 30.0;
const FOOT: f64 = 150.0;
/// What was lost at all is seen, and so is the peak among hundreds.
const LEAST: f64 = 4.0;

pub struct Plot {
    pub id: String,
    pub heading: String,
    /// What a reader who sees no drawing is told.
    pub title: String,
    pub peak: Peak,
    pub bars: Vec<Block>,
    /// The line of what chance would lose.
    pub level: String,
    pub axis: String,
    pub last: String,
    /// What the drawing cannot say by itself.
    pub remarks: Vec<String>,
    pub next: Next,
    /// Name and value.
    pub facts: Vec<(&'static str, String)>,
}

pub struct Peak {
    pub says: String,
    pub x: String,
    /// Where its words begin, so that they stay inside the drawing.
    pub anchor: &'static str,
}

pub struct Next {
    pub heading: String,
    pub numbers: Vec<i64>,
}

/// What a finding says of its period.
struct Period {
    n: u64,
    residue: u64,
    width: u64,
    residues: Residues,
}

/// `None` for what is no periodic loss, or does not say how its losses lie.
pub fn plot(finding: &Finding) -> Option<Plot> {
    let period = Period::of(finding)?;
    let text = |name: &str| finding.evidence.get(name).and_then(|value| value.as_str()).map(clean);
    let count = |name: &str| finding.evidence.get(name).and_then(serde_json::Value::as_u64);
    let what = finding.cause.as_deref().map_or("lost".to_owned(), clean);
    let counter = text("counter").unwrap_or_default().replace('-', " ");
    let counter = text("of").map_or(counter.clone(), |of| format!("{counter} of {of}"));
    let hits = format!("{} of {}", thousands(count("hits")?), thousands(count("eligible")?));
    let says = format!("n = {}, {}: {hits} {what}", period.n, period.peak());
    let scale = period.scale()?;
    let (x, anchor) = period.words();
    let next: Vec<i64> = read(finding, "next").unwrap_or_default();
    Some(Plot {
        id: clean(&finding.id),
        heading: format!("{}: {counter} modulo {}", clean(&finding.topic), period.n),
        title: format!("{counter} modulo {}: what is {what} by residue; the peak is {says}", period.n),
        peak: Peak { says, x: format!("{x:.1}"), anchor },
        bars: (0..period.residues.from.len()).filter_map(|i| period.bar(i, scale, &what)).collect(),
        level: period.level(scale),
        axis: format!("{counter} modulo {}", period.n),
        last: (period.n - 1).to_string(),
        remarks: period.remarks(finding, &what),
        next: Next { heading: heading(next.len(), &counter, &what), numbers: next },
        facts: facts(finding),
    })
}

fn read<T: DeserializeOwned>(finding: &Finding, name: &str) -> Option<T> {
    serde_json::from_value(finding.evidence.get(name)?.clone()).ok()
}

fn heading(numbers: usize, counter: &str, what: &str) -> String {
    match numbers {
        0 => format!("Which {counter} will be {what} next cannot be said: the latest ones do not show the period"),
        1 => format!("The next to be {what}, by {counter}"),
        3 => format!("The next three to be {what}, by {counter}"),
        _ => format!("The next {numbers} to be {what}, by {counter}"),
    }
}

fn facts(finding: &Finding) -> Vec<(&'static str, String)> {
    let rate = |name: &str| read::<f64>(finding, name).map(|share| format!("{} %", of_hundred(share)));
    let interval = read::<(f64, f64)>(finding, "hit_rate_interval");
    let interval = interval.map(|(low, high)| format!(" (95 %: {} to {} %)", of_hundred(low), of_hundred(high)));
    let facts = [
        ("on the peak", rate("hit_rate").map(|rate| rate + &interval.unwrap_or_default())),
        ("elsewhere", rate("background_rate")),
        ("share of all loss", rate("share_of_loss")),
        ("by chance", read::<f64>(finding, "ln_p").map(chance)),
        ("first", finding.first_seen.map(utc)),
        ("last", finding.last_seen.map(utc)),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// At most two decimals.
fn of_hundred(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A probability by its natural logarithm.
fn chance(ln_p: f64) -> String {
    let power = (ln_p / std::f64::consts::LN_10).ceil();
    match power {
        -3.0.. => format!("{:.4}", ln_p.exp()),
        _ => {
            let raised = |digit: char| match digit {
                '-' => '⁻',
                _ => ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][digit.to_digit(10).unwrap_or(0) as usize],
            };
            format!("below 10{}", format!("{power:.0}").chars().map(raised).collect::<String>())
        }
    }
}

impl Period {
    fn of(finding: &Finding) -> Option<Self> {
        if finding.kind != Kind::PeriodicLoss {
            return None;
        }
        let n: u64 = read(finding, "n")?;
        let residue: u64 = read(finding, "residue")?;
        let width = read(finding, "width").unwrap_or(1);
        let residues: Residues = read(finding, "residues")?;
        let from = &residues.from;
        let bars = [residues.lost.len(), residues.trials.len()];
        let is_sound = from.first() == Some(&0) && from.last().is_some_and(|&last| last < n) && residue < n;
        let is_in_order = from.is_sorted_by(|a, b| a < b);
        (is_sound && is_in_order && bars == [from.len(); 2]).then_some(Self { n, residue, width, residues })
    }

    fn peak(&self) -> String {
        match self.width {
            0 | 1 => format!("residue {}", self.residue),
            width => format!("residues {} to {}", self.residue, (self.residue + width - 1) % self.n),
        }
    }

    fn is_peak(&self, bar: usize) -> bool {
        (self.residues.from[bar] + self.n - self.residue) % self.n < self.width
    }

    /// Its residues: the first, and that after the last.
    fn span(&self, bar: usize) -> (u64, u64) {
        (self.residues.from[bar], self.residues.from.get(bar + 1).copied().unwrap_or(self.n))
    }

    /// Lost numbers for each of its residues.
    fn height(&self, bar: usize) -> f64 {
        let (from, until) = self.span(bar);
        self.residues.lost[bar] as f64 / (until - from) as f64
    }

    /// The same, were every number lost as easily.
    fn expected(&self, bar: usize) -> f64 {
        let (from, until) = self.span(bar);
        let sum = |counts: &[u64]| counts.iter().fold(0.0, |sum, &count| sum + count as f64);
        let rate = sum(&self.residues.lost) / sum(&self.residues.trials).max(1.0);
        rate * self.residues.trials[bar] as f64 / (until - from) as f64
    }

    /// From lost numbers to units of the drawing.
    fn scale(&self) -> Option<f64> {
        let heights = (0..self.residues.from.len()).map(|bar| self.height(bar).max(self.expected(bar)));
        let most = heights.fold(0.0, f64::max);
        (most > 0.0).then_some((FOOT - TOP) / most)
    }

    /// Every bar is as wide as any other: a folded one must not hide the peak.
    fn step(&self) -> f64 {
        WIDTH / self.residues.from.len() as f64
    }

    fn bar(&self, bar: usize, scale: f64, what: &str) -> Option<Block> {
        let (lost, trials) = (self.residues.lost[bar], self.residues.trials[bar]);
        if lost == 0 {
            return None;
        }
        let (from, until) = self.span(bar);
        let height = (self.height(bar) * scale).max(LEAST);
        let step = self.step();
        let place = match until - from {
            1 => format!("residue {from}"),
            _ => format!("residues {from} to {}", until - 1),
        };
        Some(Block {
            class: if self.is_peak(bar) { "mark" } else { "records" },
            x: format!("{:.2}", bar as f64 * step),
            y: format!("{:.2}", FOOT - height),
            width: format!("{:.2}", if step > 4.0 { step - 1.0 } else { step }),
            height: format!("{height:.2}"),
            title: format!("{place}: {} of {} {what}", thousands(lost), thousands(trials)),
        })
    }

    fn level(&self, scale: f64) -> String {
        let (mut path, mut before) = (String::new(), String::new());
        for bar in 0..self.residues.from.len() {
            let y = format!("{:.1}", FOOT - self.expected(bar) * scale);
            let x = bar as f64 * self.step();
            match y == before {
                true => {}
                false if path.is_empty() => path += &format!("M0 {y}"),
                false => path += &format!("H{x:.1}V{y}"),
            }
            before = y;
        }
        path + &format!("H{WIDTH:.1}")
    }

    /// Where the words of the peak stand: above its highest bar.
    fn words(&self) -> (f64, &'static str) {
        let peak = (0..self.residues.from.len()).filter(|&bar| self.is_peak(bar));
        let bar = peak.max_by(|&a, &b| self.height(a).total_cmp(&self.height(b))).unwrap_or(0);
        let x = (bar as f64 + 0.5) * self.step();
        match x / WIDTH {
            share if share < 0.3 => (x, "start"),
            share if share > 0.7 => (x, "end"),
            _ => (x, "middle"),
        }
    }

    fn remarks(&self, finding: &Finding, what: &str) -> Vec<String> {
        let lost: u64 = self.residues.lost.iter().sum();
        let level = lost as f64 / self.n as f64;
        let mut all = vec![format!(
            "{} {what}; the line is where all bars would end were it chance: about {level:.1} a residue",
            thousands(lost)
        )];
        if (self.residues.from.len() as u64) < self.n {
            let widest = (0..self.residues.from.len()).map(|bar| self.span(bar)).map(|(from, until)| until - from);
            all.push(format!(
                "away from the peak a bar stands for up to {} residues, as high as they are on average",
                thousands(widest.max().unwrap_or(1))
            ));
        }
        if finding.evidence.contains_key("phases") {
            all.push(
                "the residue differs from one session to the next; each is turned to that of the latest".to_owned(),
            );
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::sample;

    fn periodic() -> Finding {
        sample::flow().findings.into_iter().find(|finding| finding.kind == Kind::PeriodicLoss).unwrap()
    }

    #[test]
    fn the_peak_is_marked_and_towers_over_what_chance_would_lose() {
        let plot = plot(&periodic()).unwrap();
        let number = |text: &str| text.parse::<f64>().unwrap();
        let marked: Vec<&Block> = plot.bars.iter().filter(|bar| bar.class == "mark").collect();
        assert_eq!((marked.len(), marked[0].title.as_str()), (1, "residue 99: 120 of 120 lost"));
        assert_eq!((number(&marked[0].y), number(&marked[0].height)), (TOP, FOOT - TOP));
        assert_eq!(plot.peak.says, "n = 100, residue 99: 120 of 120 lost");
        assert_eq!(plot.peak.anchor, "end");
        let fact = |wanted: &str| plot.facts.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str());
        assert_eq!(fact("on the peak"), Some("100 % (95 %: 96.9 to 100 %)"));
        // e^−812.25 is 10^−352.76.
        assert_eq!((fact("elsewhere"), fact("by chance")), (Some("0.04 %"), Some("below 10⁻³⁵²")));
        assert_eq!(plot.next.numbers, [12_099, 12_199, 12_299]);
        assert_eq!(plot.next.heading, "The next three to be lost, by transaction number");
        // 125 lost over 100 residues: 1.25 of 120.
        assert_eq!(plot.level, format!("M0 {:.1}H720.0", FOOT - 1.25));
        let others = plot.bars.iter().filter(|bar| bar.class == "records").count();
        assert_eq!(others, 5, "one bar for each residue that lost something");
    }

    #[test]
    fn nothing_leaves_the_drawing_however_many_residues_there_are() {
        let n = 5_000u64;
        let from: Vec<u64> = (0..n).step_by(25).chain(4_998..n).collect();
        let bars = from.len();
        let finding = Finding { cause: Some("late".to_owned()), ..periodic() };
        let finding = finding
            .evidence("n", n)
            .evidence("residue", 4_999)
            .evidence("width", 2)
            .evidence("residues", json!({"from": from, "lost": vec![1; bars], "trials": vec![100; bars]}));
        let plot = plot(&finding).unwrap();
        let number = |text: &str| text.parse::<f64>().unwrap();
        for bar in &plot.bars {
            assert!(number(&bar.x) >= 0.0 && number(&bar.x) + number(&bar.width) <= WIDTH + 0.02);
            assert!(number(&bar.y) >= TOP && number(&bar.y) + number(&bar.height) <= FOOT + 0.02);
        }
        let marked: Vec<&str> =
            plot.bars.iter().filter(|bar| bar.class == "mark").map(|bar| bar.title.as_str()).collect();
        // The peak goes over the end: its second residue is 0, which shares a bar with others here.
        assert_eq!(marked, ["residues 0 to 24: 1 of 100 late", "residue 4999: 1 of 100 late"]);
        assert!(plot.peak.says.starts_with("n = 5000, residues 4999 to 0: "), "{}", plot.peak.says);
        assert!(plot.remarks[1].contains("up to 25 residues"), "{:?}", plot.remarks);
    }

    #[test]
    fn evidence_that_makes_no_sense_is_not_drawn() {
        for residues in [
            json!(null),
            json!({"from": [], "lost": [], "trials": []}),
            json!({"from": [0, 1], "lost": [1], "trials": [1, 1]}),
            json!({"from": [0, 100], "lost": [1, 1], "trials": [1, 1]}),
            json!({"from": [0, 5, 3], "lost": [1, 1, 1], "trials": [1, 1, 1]}),
            json!({"from": [0, 50], "lost": [0, 0], "trials": [0, 0]}),
        ] {
            assert!(plot(&periodic().evidence("residues", residues.clone())).is_none(), "{residues}");
        }
        assert!(plot(&sample::missing("s", 0, 1, 2, 3)).is_none());
    }
}
