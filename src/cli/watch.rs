//! `sordini watch` and `sordini check-config`.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use super::common::exit;
use super::signals;
use crate::config::watch::WatchFile;
use crate::watch;

#[derive(Args)]
pub struct WatchArgs {
    /// File of settings; SIGHUP reads it again
    #[arg(short, long, value_name = "FILE", default_value = "/etc/sordini.toml")]
    config: PathBuf,
}

pub fn run(args: &WatchArgs) -> anyhow::Result<u8> {
    watch::run(&args.config, &signals::listen(true)?)?;
    Ok(exit::CLEAN)
}

#[derive(Args)]
pub struct CheckArgs {
    /// File of settings
    #[arg(value_name = "FILE", default_value = "/etc/sordini.toml")]
    config: PathBuf,
}

/// Says what the daemon would do, without doing it.
pub fn check(args: &CheckArgs) -> anyhow::Result<u8> {
    let file = WatchFile::read(&args.config)?;
    let said = watch::describe(&file)?;
    let mut out = io::stdout().lock();
    for line in said {
        writeln!(out, "{line}")?;
    }
    Ok(exit::CLEAN)
}
