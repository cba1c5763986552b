//! A command: the message as JSON on its standard input, what matters most in its environment. Exit 0 is taken;
//! anything else is tried again later.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::Sink;
use crate::alert::error::{AlertError, Result};
use crate::alert::message::{Message, Place};
use crate::alert::outbox::{Batch, Failure};
use crate::config::alert::CommandFile;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);
/// How much of what it says about a failure is kept.
const EXCERPT: usize = 300;

pub struct Command {
    program: String,
    arguments: Vec<String>,
    timeout: Duration,
    place: Place,
}

impl Command {
    pub fn new(file: &CommandFile, place: &Place) -> Result<Self> {
        let failed = |what: String| AlertError::sink(&file.name, what);
        let Some((program, arguments)) = file.argv.split_first() else {
            return Err(failed("argv is empty".to_owned()));
        };
        if !exists(program) {
            return Err(failed(format!("there is no program {program}")));
        }
        Ok(Self {
            program: program.clone(),
            arguments: arguments.to_vec(),
            timeout: file.timeout.unwrap_or(DEFAULT_TIMEOUT),
            place: place.clone(),
        })
    }

    fn start(&self, message: &Message) -> std::io::Result<Child> {
        let mut command = std::process::Command::new(&self.program);
        let absent = String::new();
        let variables = [
            ("ID", &message.id),
            ("SUMMARY", &message.summary),
            ("CLUSTER", &message.cluster),
            ("INSTANCE", &message.instance),
            ("KIND", message.kind.as_ref().unwrap_or(&absent)),
            ("TOPIC", message.topic.as_ref().unwrap_or(&absent)),
            ("GROUP", message.group.as_ref().unwrap_or(&absent)),
        ];
        for (name, value) in variables {
            // Nothing behind a zero byte would arrive.
            command.env(format!("SORDINI_{name}"), value.replace('\0', " "));
        }
        command
            .args(&self.arguments)
            .env("SORDINI_STATUS", message.status)
            .env("SORDINI_SEVERITY", message.severity.name())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Its own group, so that what it started ends with it.
            .process_group(0)
            .spawn()
    }
}

fn exists(program: &str) -> bool {
    if program.contains('/') {
        return std::path::Path::new(program).is_file();
    }
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

impl Sink for Command {
    fn send(&self, batch: &Batch, _now_ms: i64) -> std::result::Result<(), Failure> {
        let later =
            |why: String| Failure::Later { why: format!("{}: {why}", self.program), after: None, is_sink_wide: false };
        let message = Message::new(batch, &self.place);
        let input = serde_json::to_vec(&message).map_err(|error| Failure::Never { why: error.to_string() })?;
        let mut child = self.start(&message).map_err(|error| later(error.to_string()))?;
        // It may read slowly or not at all, and say more than a pipe holds.
        if let Some(mut stdin) = child.stdin.take() {
            std::thread::spawn(move || stdin.write_all(&input));
        }
        let (told, hear) = std::sync::mpsc::channel();
        if let Some(stderr) = child.stderr.take() {
            std::thread::spawn(move || told.send(excerpt(stderr)));
        }
        let status = wait(&mut child, self.timeout).map_err(later)?;
        if status.success() {
            return Ok(());
        }
        let said = hear.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit {code}"),
            (None, signal) => format!("ended by signal {}", signal.unwrap_or_default()),
        };
        Err(later(if said.is_empty() { how } else { format!("{how}: {said}") }))
    }
}

/// The beginning of what it says; the rest is read so that it can go on.
fn excerpt(mut stderr: impl Read) -> String {
    let mut kept = Vec::new();
    let mut some = [0; 4096];
    while let Ok(read @ 1..) = stderr.read(&mut some) {
        let room = EXCERPT - kept.len().min(EXCERPT);
        kept.extend_from_slice(&some[..read.min(room)]);
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}

fn wait(child: &mut Child, timeout: Duration) -> std::result::Result<ExitStatus, String> {
    let deadline = Instant::now() + timeout;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK),
            Ok(None) => {
                if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
                    let killed = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
                    killed.or_else(|_| child.kill().map_err(|_| rustix::io::Errno::SRCH)).unwrap_or_default();
                }
                let ended = child.wait();
                return Err(format!("no end after {timeout:?}, killed ({})", ended.map_or("lost", |_| "gone")));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}
