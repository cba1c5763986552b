//! A child process that cannot outlive the test: a shell between us and it reads from a pipe. A line means: kill the
//! child. The end of the pipe, which the kernel sees to however we die, means: kill it and remove its directory. The child
//! leads a session of its own, so that what it started goes with it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::ops::Deref;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use crate::wait_for;

/// Whether the user wants to look at what servers left.
fn keeps_directories() -> bool {
    env::var_os("SORDINI_LAB_KEEP").is_some()
}

/// A server's own directory, gone on drop. Where it stands beside a [`Process`], the process is declared first, so that
/// it has ended by then.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    pub fn new(whose: &str) -> Self {
        let made = tempfile::Builder::new().prefix("sordini-lab-").tempdir().expect("a temporary directory").keep();
        if keeps_directories() {
            eprintln!("{whose} in {}", made.display());
        }
        Self(made)
    }

    /// Writes a file into it; its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("the server's directory is writable");
        path
    }
}

impl Deref for Directory {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !keeps_directories() {
            drop(fs::remove_dir_all(&self.0));
        }
    }
}

const WATCHDOG: &str = r#"
remove=$1; shift
setsid "$@" </dev/null >&2 &
pid=$!
echo "$pid"
exec >/dev/null
read -r stop && remove=
kill -KILL "-$pid" "$pid" 2>/dev/null
wait "$pid"
if [ -n "$remove" ]; then rm -rf "$remove"; fi
"#;

/// The state letter of a line of `/proc/…/stat`; it follows the name, which may hold anything.
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(") ")?.1.chars().next()
}

#[derive(Debug)]
pub struct Process {
    pid: u32,
    watchdog: Child,
    pipe: Option<ChildStdin>,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output in `directory/server.log`. The directory goes when this process ends without
    /// having dropped the value.
    pub fn start(command: &[String], directory: &Path) -> Self {
        let log = directory.join("server.log");
        let out = File::create(&log).expect("the server's log must be writable");
        let remove = if keeps_directories() { Path::new("") } else { directory };
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(remove)
            .args(command)
            .process_group(0) // Ctrl-C reaches the test alone; the pipe tells the watchdog
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(out)
            .spawn()
            .expect("sh must start");
        let mut line = String::new();
        let stdout = watchdog.stdout.take().expect("standard output is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the watchdog says the child's id");
        let pid = line.trim().parse().expect("the watchdog says the child's id");
        Self { pid, pipe: watchdog.stdin.take(), watchdog, log }
    }

    pub fn id(&self) -> u32 {
        self.pid
    }

    pub fn is_running(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        state(&stat).is_some_and(|state| state != 'Z')
    }

    /// Returns when every thread stands still; the signal alone takes effect some time after it was sent.
    pub fn pause(&self) {
        self.signal("STOP");
        wait_for("every thread of the paused process stands still", Duration::from_secs(10), || {
            let tasks = fs::read_dir(format!("/proc/{}/task", self.pid)).ok()?.flatten();
            let mut stats = tasks.flat_map(|task| fs::read_to_string(task.path().join("stat")));
            stats.all(|stat| state(&stat) == Some('T')).then_some(())
        });
    }

    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Asks it to end and waits until it has.
    pub fn terminate(&self) {
        self.signal("TERM");
        wait_for("the process ends when asked to", Duration::from_secs(30), || (!self.is_running()).then_some(()));
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.pid)]).status();
        assert!(sent.is_ok_and(|s| s.success()), "kill -{name} {}", self.pid);
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Warnings, errors and the last lines of the log, for failure messages.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let last = log.lines().count().saturating_sub(15);
        let worth_reading = |&(i, line): &(usize, &str)| i >= last || !line.contains("] INFO ");
        let lines: Vec<_> = log.lines().enumerate().filter(worth_reading).map(|(_, line)| line).collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- end of {} ---\n{}", self.log.display(), self.log_tail());
        }
        if let Some(mut pipe) = self.pipe.take() {
            pipe.write_all(b"stop\n").unwrap_or_else(|error| eprintln!("the watchdog has gone: {error}"));
        }
        if let Err(error) = self.watchdog.wait() {
            eprintln!("the watchdog of process {} did not end: {error}", self.pid);
        }
    }
}
