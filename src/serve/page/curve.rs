//! The lag curve of a group: what was, what is expected, and where retention stands. Texts stand outside the drawing, so that it
//! may be stretched.

use askama::Template;
use askama::filters::HtmlSafe;

use super::parts::{line, signed};
use crate::lag::snapshot::GroupLag;
use crate::report::format::{ago, plural, utc};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 200.0;
/// How far ahead the drawing goes at most, as a share of the past it shows.
const AHEAD: i64 = 1;

#[derive(Template)]
#[template(
    source = "<svg class=\"line\" viewBox=\"0 0 960 200\" preserveAspectRatio=\"none\" height=\"200\" role=\"img\" aria-label=\"{{ title }}\"><title>{{ title }}</title><path class=\"under\" d=\"{{ under }}\"/>{% for path in paths %}<path class=\"{{ path.0 }}\" d=\"{{ path.1 }}\"/>{% endfor %}<path d=\"{{ past }}\"/></svg>",
    ext = "html"
)]
pub struct Drawing {
    title: String,
    past: String,
    under: String,
    /// Class and line.
    paths: Vec<(&'static str, String)>,
}

impl HtmlSafe for Drawing {}

pub struct Curve {
    pub drawing: Drawing,
    pub most: String,
    pub first: String,
    pub last: String,
    pub legend: Vec<(&'static str, String)>,
}

pub fn curve(group: &GroupLag, now_ms: i64) -> Option<Curve> {
    let (&(from, began), &(until, behind)) = (group.curve.first()?, group.curve.last()?);
    let past = until.saturating_sub(from).max(1);
    let horizon = until.saturating_add(past.saturating_mul(AHEAD));
    let forecast = |what: &str| {
        let found = group.forecasts.iter().find(|forecast| forecast.what == what);
        found.and_then(|forecast| forecast.at_ms).filter(|&at_ms| at_ms > until)
    };
    let (caught_up, overtaken) = (forecast("catches-up"), forecast("retention-overtakes"));
    let last = [caught_up, overtaken].into_iter().flatten().filter(|&at| at <= horizon).max().unwrap_or(until);
    let last = last.max(until.saturating_add(past / 20));

    let highest = group.curve.iter().map(|point| point.1).max().unwrap_or(0).max(1);
    // Everything the logs still hold: a group that is further behind has lost something.
    let edge = group.partitions.iter().filter_map(|p| Some(p.end.ok()? - p.log_start.ok()?)).sum::<i64>();
    let shows_edge = edge > 0 && edge <= highest.saturating_mul(3);
    let top = if shows_edge { highest.max(edge) } else { highest } as f64 * 1.05;
    let x = |at: i64| at.saturating_sub(from) as f64 / last.saturating_sub(from).max(1) as f64 * WIDTH;
    let y = |lag: i64| HEIGHT - lag.max(0) as f64 / top * (HEIGHT - 4.0);

    let points = line(group.curve.iter().map(|&(at, lag)| (x(at), y(lag))));
    let mut paths = vec![("now", line([(x(until), 0.0), (x(until), HEIGHT)].into_iter()))];
    let mut legend = Vec::new();
    if let Some(at) = caught_up {
        // Beyond the drawing it is cut where the drawing ends.
        let share = (last - until) as f64 / (at - until) as f64;
        let end = if at <= last { (x(at), y(0)) } else { (WIDTH, y(behind - (behind as f64 * share) as i64)) };
        paths.push(("hope", line([(x(until), y(behind)), end].into_iter())));
        legend.push(("hope", format!("expected to catch up {} ({})", ahead(at, now_ms), utc(at))));
    }
    if let Some(at) = overtaken {
        if at <= last {
            paths.push(("due", line([(x(at), 0.0), (x(at), HEIGHT)].into_iter())));
        }
        legend.push(("due", format!("retention overtakes {} ({})", ahead(at, now_ms), utc(at))));
    }
    if edge > 0 {
        if shows_edge {
            paths.push(("edge", line([(0.0, y(edge)), (WIDTH, y(edge))].into_iter())));
        }
        let beyond = if shows_edge { "" } else { ", above the drawing" };
        legend.push(("edge", format!("retention edge: {} are kept{beyond}", plural(edge.unsigned_abs(), "offset"))));
    }
    let title = format!(
        "offsets behind: {} at {}, {} at {}, at most {}",
        signed(began),
        utc(from),
        signed(behind),
        utc(until),
        signed(highest)
    );
    let under = format!("{points}L{:.1} {HEIGHT:.1}L0 {HEIGHT:.1}Z", x(until));
    Some(Curve {
        drawing: Drawing { title, past: points, under, paths },
        most: format!("at most {} behind", signed(highest)),
        first: utc(from),
        last: utc(last),
        legend,
    })
}

/// `in 25 min`.
pub fn ahead(at_ms: i64, now_ms: i64) -> String {
    match ago(at_ms, now_ms) {
        text if at_ms > now_ms => format!("in {}", text.trim_end_matches(" ahead")),
        text => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lag::verdict::Verdict;
    use crate::serve::sample::{self, NOON};

    #[test]
    fn nothing_leaves_the_drawing() {
        for verdict in Verdict::ALL {
            let mut group = sample::by_verdict(verdict);
            for forecast in &mut group.forecasts {
                forecast.at_ms = forecast.at_ms.map(|at| at + 10_000_000_000);
            }
            for group in [sample::by_verdict(verdict), group] {
                let curve = curve(&group, NOON).unwrap();
                let lines = curve.drawing.paths.iter().map(|(_, line)| line).chain([&curve.drawing.past]);
                for point in lines.flat_map(|line| line.split(['M', 'L'])).filter(|point| !point.is_empty()) {
                    let (x, y) = point.split_once(' ').unwrap();
                    let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                    assert!((0.0..=WIDTH).contains(&x) && (0.0..=HEIGHT).contains(&y), "{verdict} {point}");
                }
            }
        }
        assert!(curve(&sample::unknown(), NOON).is_none());
    }
}
