//! `sordini score`: findings against the truth of `generate`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::Global;
use super::common::exit;
use crate::generate::score::score;
use crate::generate::{Score, Truth};

#[derive(Args)]
#[command(after_help = "Exit codes: 0 every fault was found and none invented, 1 otherwise, 2 unreadable input.")]
pub struct ScoreArgs {
    /// Truth file of `generate`
    #[arg(long, value_name = "FILE")]
    truth: PathBuf,
    /// JSON lines of `audit --format json`, or - for standard input
    findings: PathBuf,
    /// Form of the score
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Json,
}

pub fn run(args: ScoreArgs, _: &Global) -> anyhow::Result<u8> {
    let open = |path: &PathBuf| File::open(path).with_context(|| format!("opening {}", path.display()));
    let truth = Truth::read(BufReader::new(open(&args.truth)?))?;
    let findings: Box<dyn BufRead> = match args.findings.as_os_str() == "-" {
        true => Box::new(BufReader::new(io::stdin())),
        false => Box::new(BufReader::new(open(&args.findings)?)),
    };
    let score = score(&truth, findings)?;
    let mut out = io::stdout().lock();
    match args.format {
        Form::Text => write!(out, "{score}")?,
        Form::Json => writeln!(out, "{}", serde_json::to_string(&score)?)?,
    }
    Ok(verdict(&score))
}

pub fn verdict(score: &Score) -> u8 {
    if score.exact() { exit::CLEAN } else { exit::FINDINGS }
}
