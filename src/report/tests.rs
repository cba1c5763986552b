//! What holds for all renderers, and snapshots of the reports a reader meets.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

use clap::ValueEnum;
use proptest::prelude::*;
use serde_json::Value;

use super::{Context, Format, ReportError, format_of, sample, write, write_finding};
use crate::audit::coverage::Coverage;
use crate::audit::finding::{Finding, Grade};
use crate::audit::verdict::{Report, Summary};

fn render(format: Format, report: &Report) -> String {
    render_with(format, report, &sample::context())
}

fn render_with(format: Format, report: &Report, context: &Context) -> String {
    let mut out = Vec::new();
    write(format, report, context, &mut out).expect("writing to memory");
    String::from_utf8(out).expect("UTF-8")
}

macro_rules! snapshots {
    ($($test:ident: $report:ident;)*) => {$(
        #[test]
        fn $test() {
            let report = sample::$report();
            for format in [Format::Text, Format::Json, Format::Junit] {
                let name = format!("{}-{format:?}", stringify!($report)).to_lowercase();
                insta::assert_snapshot!(name, render(format, &report));
            }
        }
    )*};
}

snapshots! {
    a_clean_report_reads_as_written_here: clean;
    a_report_with_many_findings_reads_as_written_here: many;
    an_unverified_report_reads_as_written_here: unverified;
    an_empty_report_reads_as_written_here: empty;
    an_inconclusive_report_reads_as_written_here: inconclusive;
    a_report_of_a_flow_reads_as_written_here: flow;
}

#[test]
fn a_clean_verdict_is_three_to_eight_lines() {
    let mut many_topics = sample::clean();
    let more = (0..50).map(|n| Coverage { topic: format!("topic-{n}"), ..many_topics.coverage[0].clone() });
    many_topics.coverage = more.collect();
    for report in [sample::clean(), many_topics] {
        let lines = render(Format::Text, &report).lines().count();
        assert!((3..=8).contains(&lines), "{lines} lines");
    }
}

#[test]
fn text_stays_within_the_width_and_is_coloured_only_when_asked() {
    for report in [sample::clean(), sample::many(), sample::unverified(), sample::inconclusive(), sample::large()] {
        let plain = render_with(Format::Text, &report, &Context { width: 80, ..sample::context() });
        assert!(!plain.contains('\u{1b}'));
        for line in plain.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        let coloured = render_with(Format::Text, &report, &Context { color: true, width: 80, ..sample::context() });
        assert!(coloured.contains("\u{1b}["));
        assert_eq!(without_colour(&coloured), plain);
    }
}

fn without_colour(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |out, part| out + part.split_once('m').map_or("", |(_, rest)| rest))
}

#[test]
fn a_large_report_stays_readable_and_bounded() {
    let report = sample::large();
    assert!(render(Format::Text, &report).lines().count() < 60);
    let page = render(Format::Html, &report);
    let count = |part: &str| page.matches(part).count();
    assert_eq!((count("class=\"strip\""), count("class=\"strip wide\"")), (200, 50));
    assert!(count("<tr>") < 250, "{} rows", count("<tr>"));
    assert!(page.contains("and 4800 more in the JSON report") && page.contains("and 200 more partitions"));
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    assert_eq!(render(Format::Json, &report).lines().count(), 5_000 + 400 + 1);
}

#[test]
fn hostile_names_break_out_of_no_report() {
    let report = sample::hostile();
    let page = render(Format::Html, &report);
    let junit = render(Format::Junit, &report);
    for text in [&page, &junit] {
        assert!(!text.contains("<script"));
        assert!(!text.contains("]]>"));
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
    }
    assert!(page.contains("&#60;script&#62;"));
    assert!(junit.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&apos;\\u{1b}[2J\\u{0}\\n]]&gt;"));
    assert!(render(Format::Text, &report).chars().all(|c| c == '\n' || !c.is_control()));
}

#[test]
fn a_page_needs_no_script_and_nothing_from_elsewhere() {
    let page = render(Format::Html, &sample::many());
    for foreign in ["<script", "<link", "src=", "http:", "https:", "@import", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn the_residues_of_a_period_are_drawn_and_not_listed() {
    let page = render(Format::Html, &sample::flow());
    assert_eq!(page.matches("<figure class=\"residues\">").count(), 1);
    for part in ["n = 100, residue 99: 120 of 120 lost", "class=\"level\"", "12099", "12199", "12299"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("trials"), "the evidence lists what is drawn");
    assert!(!render(Format::Html, &sample::many()).contains("<figure"));
}

#[test]
fn the_extension_chooses_the_format() {
    let of = |path: &str| format_of(Some(Path::new(path)));
    assert_eq!(of("a/report.html"), Format::Html);
    assert_eq!(of("TEST-orders.XML"), Format::Junit);
    assert_eq!(of("x.jsonl"), Format::Json);
    assert_eq!(of("x.json"), Format::Json);
    assert_eq!(of("x.log"), Format::Text);
    assert_eq!(format_of(None), Format::Text);
}

struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_pipe_is_recognised_below_every_format() {
    let (report, context) = (sample::many(), sample::context());
    let is_closed = |error: ReportError| {
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        source.is_some_and(|source| source.kind() == io::ErrorKind::BrokenPipe)
    };
    for &format in Format::value_variants() {
        assert!(is_closed(write(format, &report, &context, &mut Closed).unwrap_err()), "{format:?}");
        assert!(
            is_closed(write_finding(format, &report.findings[0], &context, &mut Closed).unwrap_err()),
            "{format:?}"
        );
    }
}

#[test]
fn a_followed_finding_is_one_line_in_every_format() {
    for &format in Format::value_variants() {
        for finding in sample::hostile().findings.iter().chain(&sample::many().findings) {
            let mut out = Vec::new();
            write_finding(format, finding, &sample::context(), &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert_eq!((text.lines().count(), text.ends_with('\n')), (1, true), "{text}");
            assert!(text.contains(&finding.id));
        }
    }
}

/// The report as its lines say, and the order of their types.
fn parse(lines: &str) -> (Vec<Finding>, Vec<Coverage>, Option<Summary>, Vec<String>) {
    let (mut findings, mut coverage, mut summary, mut types) = (Vec::new(), Vec::new(), None, Vec::new());
    for line in lines.lines() {
        assert!(line.starts_with(r#"{"type":""#), "{line}");
        let mut value: Value = serde_json::from_str(line).unwrap();
        let kind = value.as_object_mut().and_then(|object| object.remove("type")).unwrap();
        match kind.as_str() {
            Some("finding") => findings.push(serde_json::from_value(value).unwrap()),
            Some("coverage") => coverage.push(serde_json::from_value(value).unwrap()),
            Some("summary") => summary = Some(serde_json::from_value(value).unwrap()),
            other => panic!("{other:?}"),
        }
        types.extend(kind.as_str().map(str::to_owned));
    }
    (findings, coverage, summary, types)
}

/// How many testcases, and how many with each outcome, the file really holds.
fn counted(junit: &str) -> [usize; 4] {
    ["<testcase ", "<failure ", "<error ", "<skipped "].map(|element| junit.matches(element).count())
}

fn declared(line: &str) -> [usize; 4] {
    ["tests", "failures", "errors", "skipped"].map(|name| {
        let value = line.split_once(&format!(" {name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
        value.and_then(|(number, _)| number.parse().ok()).expect("a count")
    })
}

#[test]
fn junit_passes_nothing_that_was_not_checked() {
    for report in [sample::clean(), sample::empty(), sample::unverified()] {
        let junit = render(Format::Junit, &report);
        for missed in &report.summary.not_checked {
            for kind in &missed.kinds {
                let passed = format!(r#"classname="{}" name="{kind}"/>"#, missed.topic);
                assert!(!junit.contains(&passed), "{passed}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn json_lines_read_back_as_the_report_in_its_order(report in sample::any_report()) {
        let (findings, coverage, summary, types) = parse(&render(Format::Json, &report));
        prop_assert_eq!(&findings, &report.findings);
        prop_assert_eq!(&coverage, &report.coverage);
        prop_assert_eq!(summary.as_ref(), Some(&report.summary));
        prop_assert_eq!(types.last().map(String::as_str), Some("summary"));
        prop_assert!(types.windows(2).all(|pair| pair[0] <= pair[1] || pair[0] == "finding"));
        prop_assert!(types.iter().skip(findings.len()).all(|kind| kind != "finding"));
    }

    #[test]
    fn junit_counts_are_those_of_its_cases(report in sample::any_report()) {
        let junit = render(Format::Junit, &report);
        let suites: Vec<&str> = junit.lines().filter(|line| line.starts_with("  <testsuite ")).collect();
        let total = junit.lines().find(|line| line.starts_with("<testsuites ")).map(declared);
        prop_assert_eq!(total, Some(counted(&junit)));
        let summed = suites.iter().map(|line| declared(line)).fold([0; 4], |sum, n| [0, 1, 2, 3].map(|i| sum[i] + n[i]));
        prop_assert_eq!(Some(summed), total);

        let proven = |f: &&Finding| f.is_open() && f.grade == Grade::Proven;
        let mut failing: Vec<_> = report.findings.iter().filter(proven).map(|f| (&f.topic, f.kind)).collect();
        failing.sort();
        failing.dedup();
        prop_assert_eq!(summed[1], failing.len());
        prop_assert_eq!(summed[2] > 0, report.summary.exit == 2);
    }

    #[test]
    fn every_format_renders_any_report(report in sample::any_report()) {
        for &format in Format::value_variants() {
            prop_assert!(!render(format, &report).is_empty());
        }
    }
}
