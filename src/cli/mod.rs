//! The command line: one file per subcommand. What the user typed is parsed here and resolved there; nothing later
//! reads a flag again.

mod audit;
mod common;
mod demo;
mod drift;
mod drifts;
mod flows;
mod generate;
mod lag;
mod ledger;
mod score;
mod signals;
mod trace;
mod watch;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

pub use common::exit;

use crate::report::format::causes;

#[derive(Parser)]
#[command(
    name = "sordini",
    version,
    about = "Audits Kafka topics: says with evidence what was lost, duplicated, reordered or corrupted",
    long_about = "Audits Kafka topics beside the real consumers and says, with evidence, which records were lost, \
                  duplicated, reordered or corrupted, and what it could not see.",
    after_help = "Exit codes: 0 read all that was asked and clean, 1 findings, 2 could not verify, 3 inconclusive.",
    propagate_version = true
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Clone)]
pub struct Global {
    /// Say more: -v what is being done, -vv every request
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    /// Form of the log on standard error
    #[arg(long, value_enum, default_value_t = LogForm::Text, global = true)]
    log: LogForm,
    /// Colour in text output
    #[arg(long, value_enum, default_value_t = When::Auto, global = true)]
    color: When,
    /// Progress bar on standard error
    #[arg(long, value_enum, default_value_t = When::Auto, global = true)]
    progress: When,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogForm {
    Text,
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum When {
    Auto,
    Always,
    Never,
}

#[derive(Subcommand)]
enum Command {
    /// Read topics (or lines) and judge them
    Audit(Box<audit::AuditArgs>),
    /// Say whether every transaction reaches every stage of its flow, and where those that do not are lost
    Flows(Box<flows::FlowsArgs>),
    /// Say how far consumer groups are behind, and which are in trouble
    Lag(Box<lag::LagArgs>),
    /// Run for ever: audit, watch consumer groups, alert, serve metrics and a page
    Watch(watch::WatchArgs),
    /// Check the daemon's settings and say what it would do
    CheckConfig(watch::CheckArgs),
    /// Compare two stores by content, while both are written: a topic and the table it is written to
    Drift(Box<drift::DriftArgs>),
    /// Say where an identity was seen
    Trace(trace::TraceArgs),
    /// Look after a ledger: its size, its health, what it keeps
    Ledger(ledger::LedgerArgs),
    /// Write traffic with known faults, and the truth about them
    Generate(Box<generate::GenerateArgs>),
    /// Compare findings with the truth of `generate`
    Score(score::ScoreArgs),
    /// Break a stream on purpose and find every fault; needs no server
    Demo(demo::DemoArgs),
    /// Print shell completions
    Completions {
        /// Shell to complete for
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one page per subcommand into a directory
    Man {
        /// Directory for the pages
        #[arg(long, value_name = "DIR")]
        dir: Option<std::path::PathBuf>,
    },
}

/// Parses the command line and runs it. The exit code is part of the contract.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; a closed pipe while printing them is none either.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::UNVERIFIED } else { exit::CLEAN });
        }
    };
    common::start_log(&cli.global);
    let outcome = match cli.command {
        Command::Audit(args) => audit::run(*args, &cli.global),
        Command::Flows(args) => flows::run(*args, &cli.global),
        Command::Lag(args) => lag::run(*args, &cli.global),
        Command::Watch(args) => watch::run(&args),
        Command::CheckConfig(args) => watch::check(&args),
        Command::Drift(args) => drift::run(*args, &cli.global),
        Command::Trace(args) => trace::run(args, &cli.global),
        Command::Ledger(args) => ledger::run(args, &cli.global),
        Command::Generate(args) => generate::run(*args, &cli.global),
        Command::Score(args) => score::run(args, &cli.global),
        Command::Demo(args) => demo::run(args, &cli.global),
        Command::Completions { shell } => completions(shell),
        Command::Man { dir } => manual(dir),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) if common::is_closed_pipe(&error) => ExitCode::from(exit::CLEAN),
        Err(error) => {
            eprintln!("sordini: {}", causes(&error));
            ExitCode::from(exit::UNVERIFIED)
        }
    }
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sordini", &mut script);
    io::stdout().write_all(&script)?;
    Ok(exit::CLEAN)
}

fn manual(dir: Option<std::path::PathBuf>) -> anyhow::Result<u8> {
    match dir {
        None => clap_mangen::Man::new(Cli::command()).render(&mut io::stdout())?,
        Some(dir) => {
            std::fs::create_dir_all(&dir)?;
            clap_mangen::generate_to(Cli::command(), &dir)?;
        }
    }
    Ok(exit::CLEAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
