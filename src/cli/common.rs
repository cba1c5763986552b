//! What several subcommands share: exit codes, the log, the connection, where output goes, progress, Ctrl-C.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::EnvFilter;

use super::{Global, LogForm, When, signals};
use crate::engine::Progress;
pub use crate::engine::now_ms;
use crate::ledger::Key;
use crate::report::Format;
use crate::source::Properties;
use crate::source::properties;

/// The exit codes scripts rely on.
pub mod exit {
    pub const CLEAN: u8 = 0;
    pub const FINDINGS: u8 = 1;
    pub const UNVERIFIED: u8 = 2;
}

/// How to reach Kafka; the flags kcat has.
#[derive(Args, Clone, Default)]
pub struct Connection {
    /// Brokers to begin with: host:port, comma-separated
    #[arg(short, long, value_name = "HOST:PORT", env = "SORDINI_BROKERS")]
    pub brokers: Option<String>,
    /// Client setting under librdkafka's name, such as security.protocol=SASL_SSL; repeatable
    #[arg(short = 'X', long = "property", value_name = "KEY=VALUE")]
    pub properties: Vec<String>,
    /// File of client settings, one KEY=VALUE a line
    #[arg(short = 'F', long, value_name = "FILE")]
    pub properties_file: Option<PathBuf>,
}

impl Connection {
    /// Settings of the file, then of -X, then of -b.
    pub fn resolve(&self, base: Properties) -> anyhow::Result<Properties> {
        let mut all = base;
        if let Some(file) = &self.properties_file {
            all.extend(properties::from_file(file)?);
        }
        for text in &self.properties {
            let (key, value) = properties::parse(text)?;
            all.insert(key, value);
        }
        if let Some(brokers) = &self.brokers {
            all.insert("bootstrap.servers".to_owned(), brokers.clone());
        }
        Ok(all)
    }
}

/// The key identities are hashed with, when it is kept outside of the ledger.
#[derive(Args, Clone, Default)]
pub struct KeyArgs {
    /// File with the ledger's key, made by `sordini ledger key`; none is then kept in the ledger's directory. The variable
    /// SORDINI_LEDGER_KEY may hold the key itself, in hexadecimal
    #[arg(long = "ledger-key", value_name = "FILE", env = "SORDINI_LEDGER_KEY_FILE")]
    ledger_key: Option<PathBuf>,
}

impl KeyArgs {
    /// The flag, then the environment, then the configuration file.
    pub fn resolve(&self, configured: Option<&Path>) -> anyhow::Result<Option<Key>> {
        let in_clear = std::env::var("SORDINI_LEDGER_KEY").ok().filter(|text| !text.is_empty());
        match (&self.ledger_key, in_clear, configured) {
            (Some(file), _, _) => Ok(Some(Key::read(file)?)),
            (None, Some(text), _) => Ok(Some(Key::parse(&text)?)),
            (None, None, Some(file)) => Ok(Some(Key::read(file)?)),
            (None, None, None) => Ok(None),
        }
    }
}

/// Where the result goes and in which form.
#[derive(Args, Clone, Default)]
pub struct Output {
    /// Form of the report
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Write the report to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl Output {
    /// `-o` is the offset in kcat and the output file here: a file of such a name is surely a mistake.
    pub fn check(&self) -> anyhow::Result<()> {
        let Some(name) = self.output.as_ref().and_then(|path| path.to_str()) else { return Ok(()) };
        let is_offset =
            matches!(name, "beginning" | "end" | "stored") || name.starts_with("s@") || name.parse::<i64>().is_ok();
        anyhow::ensure!(!is_offset, "-o names the output file; where reading begins is --offset {name}");
        Ok(())
    }

    /// Runs `write` on the file or on standard output.
    pub fn write(&self, write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>) -> anyhow::Result<()> {
        match &self.output {
            Some(path) => write_file(path, write),
            None => {
                let mut out = BufWriter::new(io::stdout().lock());
                write(&mut out)?;
                Ok(out.flush()?)
            }
        }
    }
}

pub fn write_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    let mut out = BufWriter::new(file);
    write(&mut out)?;
    out.flush().with_context(|| format!("writing {}", path.display()))
}

pub fn start_log(global: &Global) {
    let level = match global.verbose {
        0 => "sordini=warn",
        1 => "sordini=info",
        _ => "sordini=debug",
    };
    let filter = EnvFilter::try_from_env("SORDINI_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match global.log {
        LogForm::Text => log.with_ansi(use_color(global.color, &io::stderr())).init(),
        LogForm::Json => log.json().init(),
    }
}

/// Honours `NO_COLOR` (<https://no-color.org>).
pub fn use_color(when: When, stream: &dyn IsTerminalStream) -> bool {
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto => stream.is_a_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    }
}

pub trait IsTerminalStream {
    fn is_a_terminal(&self) -> bool;
}

impl<T: IsTerminal> IsTerminalStream for T {
    fn is_a_terminal(&self) -> bool {
        self.is_terminal()
    }
}

/// Columns of the terminal, or 100.
pub fn width() -> usize {
    std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(100)
}

pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe))
}

/// Stops the audit at the first Ctrl-C or SIGTERM: it commits, reports and exits. The second one ends at once.
pub fn stop_on_signal(progress: Arc<Progress>) -> anyhow::Result<()> {
    let asks = signals::listen(false)?;
    std::thread::Builder::new().name("stop".to_owned()).spawn(move || {
        if asks.recv().is_ok() {
            eprintln!("sordini: stopping; again to leave at once");
            progress.stop();
        }
        // Held until the process ends, so that the second signal is still heard.
        while asks.recv().is_ok() {}
    })?;
    Ok(())
}

/// Draws progress by offsets until it is dropped.
pub struct Drawn {
    bar: ProgressBar,
    done: Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// What there is to be seen of the progress.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Offsets,
    /// Of tables that are read in steps.
    Rows,
    /// Nobody knows how far it is: a database works.
    Phase,
}

impl Shown {
    fn of(progress: &Progress) -> Self {
        let is_left = |total: &AtomicU64, done: &AtomicU64| {
            let (total, done) = (total.load(Ordering::Relaxed), done.load(Ordering::Relaxed));
            done < total
        };
        match progress {
            progress if is_left(&progress.offsets_total, &progress.offsets_done) => Shown::Offsets,
            progress if is_left(&progress.rows_total, &progress.rows_done) => Shown::Rows,
            progress if !progress.phase().is_empty() => Shown::Phase,
            _ => Shown::Offsets,
        }
    }

    fn figures(self, progress: &Progress) -> (u64, u64) {
        let (total, done) = match self {
            Shown::Rows => (&progress.rows_total, &progress.rows_done),
            Shown::Offsets | Shown::Phase => (&progress.offsets_total, &progress.offsets_done),
        };
        (total.load(Ordering::Relaxed), done.load(Ordering::Relaxed))
    }

    fn style(self, progress: &Arc<Progress>, bar: &ProgressBar) {
        let form = match self {
            Shown::Offsets => {
                "{bar:30} {percent}% of offsets · {per_sec} · {bytes_read} · findings {found} · {eta} left"
            }
            Shown::Rows => "{bar:30} {percent}% of rows · {per_sec} · {msg} · {eta} left",
            Shown::Phase => "{spinner} {msg} · {elapsed}",
        };
        let (bytes, found) = (progress.clone(), progress.clone());
        if let Ok(style) = ProgressStyle::with_template(form) {
            let count = move |_: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = write!(out, "{}", indicatif::HumanBytes(bytes.bytes.load(Ordering::Relaxed)));
            };
            let findings = move |_: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = write!(out, "{}", found.findings.load(Ordering::Relaxed));
            };
            bar.set_style(style.with_key("bytes_read", count).with_key("found", findings));
        }
    }
}

pub fn draw(progress: &Arc<Progress>, global: &Global, follow: bool) -> Drawn {
    let shown = use_color(global.progress, &io::stderr()) && !follow;
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (ticking, drawn, source) = (done.clone(), bar.clone(), progress.clone());
    let tick = move || {
        let mut before = None;
        while !ticking.load(Ordering::Relaxed) {
            let shown = Shown::of(&source);
            if before.replace(shown) != Some(shown) {
                // Each has its own speed, and its own time left.
                drawn.reset();
                shown.style(&source, &drawn);
            }
            let (length, position) = shown.figures(&source);
            drawn.set_length(length);
            drawn.set_position(position);
            drawn.set_message(source.phase());
            drawn.tick();
            std::thread::park_timeout(Duration::from_millis(200));
        }
    };
    let thread = shown.then(|| std::thread::spawn(tick));
    Drawn { bar, done, thread }
}

impl Drop for Drawn {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The drawing thread holds nothing that could be lost.
            let _ = thread.join();
        }
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_given_as_output_file_is_a_mistake() {
        let output = |name: &str| Output { format: None, output: Some(name.into()) };
        assert!(output("beginning").check().is_err());
        assert!(output("-1000").check().is_err());
        assert!(output("report.html").check().is_ok());
    }
}
