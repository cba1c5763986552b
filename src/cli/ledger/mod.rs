//! `sordini ledger`: looking after a ledger that no audit uses right now.

mod export;
mod stat;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Global;
use super::common::{self, KeyArgs, exit};
use super::trace::Form;
use crate::engine::trace::{AtRest, Found, Sought, find};
use crate::ledger::{Fault, Key, Ledger, verify};
use crate::report::{bytes, plural, thousands};

#[derive(Args)]
pub struct LedgerArgs {
    #[command(subcommand)]
    command: LedgerCommand,
}

#[derive(Subcommand)]
enum LedgerCommand {
    /// Say how much a ledger holds, of what and since when
    Stat {
        #[command(flatten)]
        ledger: At,
        /// Form of the answer
        #[arg(long, value_enum, default_value_t = Form::Text)]
        format: Form,
    },
    /// Read every byte of a ledger and name each damaged part
    #[command(after_help = "Exit codes: 0 sound, 2 damaged or not readable.")]
    Verify {
        #[command(flatten)]
        ledger: At,
    },
    /// Merge what can be merged, drop what is forgotten, shorten the journal; no answer changes
    Compact {
        #[command(flatten)]
        ledger: At,
    },
    /// Forget what was seen of an identity: at once in every answer, on the disk with the next merge
    #[command(after_help = "Exit codes: 0 forgotten, 1 not found, 2 could not say or do.")]
    Forget {
        /// The id in clear, or the hash that a finding or `sordini trace` shows; of a session's number give the hash
        #[arg(value_name = "ID")]
        id: String,
        /// Directories of the ledgers
        #[arg(value_name = "DIR", required = true)]
        dirs: Vec<PathBuf>,
        /// The ID is a hash and nothing else
        #[arg(long)]
        hash: bool,
        /// Only this topic
        #[arg(short, long, value_name = "TOPIC", conflicts_with = "hash")]
        topic: Option<String>,
        #[command(flatten)]
        key: KeyArgs,
    },
    /// Write all kept sightings, in the order of their identities; identities stay hashes
    #[command(
        after_help = "Exit codes: 0 everything written, 2 parts are damaged and missing, or nothing could be read."
    )]
    Export {
        #[command(flatten)]
        ledger: At,
        /// File to write; standard output when absent
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Form of the file [default: by its name, else csv]
        #[arg(long, value_enum)]
        format: Option<FileForm>,
    },
    /// Make a key file for --ledger-key, readable by its owner only
    Key {
        /// File to make; an existing one is not overwritten
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// A ledger at rest.
#[derive(Args)]
struct At {
    /// Directory of the ledger
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FileForm {
    Csv,
    Parquet,
}

pub fn run(args: LedgerArgs, global: &Global) -> anyhow::Result<u8> {
    match args.command {
        LedgerCommand::Stat { ledger, format } => stat::run(&ledger.dir, ledger.key.resolve(None)?.as_ref(), format),
        LedgerCommand::Verify { ledger } => run_verify(&ledger.dir, ledger.key.resolve(None)?.as_ref(), global),
        LedgerCommand::Compact { ledger } => compact(&ledger.dir, ledger.key.resolve(None)?.as_ref()),
        LedgerCommand::Forget { id, dirs, hash, topic, key } => {
            let sought = if hash { Sought::hash(&id)? } else { Sought::Id(id) };
            forget(&sought, &dirs, topic.as_deref(), key.resolve(None)?.as_ref())
        }
        LedgerCommand::Export { ledger, output, format } => {
            export::run(&ledger.dir, ledger.key.resolve(None)?.as_ref(), output.as_deref(), format)
        }
        LedgerCommand::Key { file } => {
            let key = Key::create(&file)?;
            writeln!(io::stdout(), "key {:016x} written to {}", key.id(), file.display())?;
            Ok(exit::CLEAN)
        }
    }
}

fn run_verify(dir: &Path, key: Option<&Key>, global: &Global) -> anyhow::Result<u8> {
    let bar = bar(global);
    let mut found = verify(dir, key, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    if found.is_sound() {
        // Its bytes are as they were written; that they mean something is another question.
        let means = "restore the ledger from a backup, or use the sordini that wrote it";
        let fault = |what| Fault { path: dir.to_owned(), what, means: means.to_owned() };
        found.faults.extend(AtRest::open(dir, key)?.unreadable()?.into_iter().map(fault));
    }
    let mut out = io::stdout().lock();
    for Fault { path, what, means } in &found.faults {
        writeln!(out, "damaged: {}: {what}; {means}", path.display())?;
    }
    writeln!(
        out,
        "{}: {} in {}, {} in the journal, {} read; {}",
        dir.display(),
        plural(found.rows, "sighting"),
        plural(found.runs as u64, "run"),
        thousands(found.entries),
        bytes(found.bytes),
        if found.is_sound() {
            "sound".to_owned()
        } else {
            format!("damaged in {}", plural(found.faults.len() as u64, "place"))
        }
    )?;
    Ok(if found.is_sound() { exit::CLEAN } else { exit::UNVERIFIED })
}

fn bar(global: &Global) -> ProgressBar {
    let shown = common::use_color(global.progress, &io::stderr());
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:30} {percent}% of {total_bytes} · {bytes_per_sec} · {eta} left")
    {
        bar.set_style(style);
    }
    bar
}

fn compact(dir: &Path, key: Option<&Key>) -> anyhow::Result<u8> {
    let done = Ledger::open_to_change(dir, key)?.compact()?;
    writeln!(
        io::stdout(),
        "{}: {}, before {}; {}, before {}; {} dropped as forgotten; {} in the journal",
        dir.display(),
        plural(done.runs as u64, "run"),
        done.runs_before,
        bytes(done.bytes),
        bytes(done.bytes_before),
        plural(done.rows_dropped, "sighting"),
        thousands(done.entries)
    )?;
    if done.damaged > 0 {
        let damaged = plural(done.damaged as u64, "damaged run");
        eprintln!("sordini: {damaged} left as before; see `sordini ledger verify`");
        return Ok(exit::UNVERIFIED);
    }
    Ok(exit::CLEAN)
}

fn forget(sought: &Sought, dirs: &[PathBuf], topic: Option<&str>, key: Option<&Key>) -> anyhow::Result<u8> {
    let mut code = exit::FINDINGS;
    for dir in dirs {
        let mut ledger = AtRest::of(Ledger::open_to_change(dir, key)?, dir)?;
        let secret = *ledger.ledger.secret();
        let (_, found) = find(&mut ledger, sought, topic, &secret)?;
        // Where damage may hide it, it is forgotten in any case.
        let found: Vec<Found> =
            found.into_iter().filter(|found| !found.arrivals.is_empty() || !found.damage.is_empty()).collect();
        let identities: Vec<u128> = found.iter().map(|found| found.identity.0).collect();
        ledger.ledger.forget(&identities)?;
        let mut out = io::stdout().lock();
        match found.is_empty() {
            true => writeln!(out, "{}: not found, nothing to forget", dir.display())?,
            false => code = exit::CLEAN,
        }
        for found in found {
            writeln!(out, "{}: forgot {} and {}", dir.display(), found.identity, plural(found.counted, "arrival"))?;
        }
    }
    Ok(code)
}

/// Whether a file can be written under this name, before anything is read for it.
fn check_output(output: Option<&Path>) -> anyhow::Result<()> {
    if let Some(output) = output {
        ensure!(!output.is_dir(), "{} is a directory; name a file", output.display());
    }
    Ok(())
}
