//! Questions to a live process, over a Unix socket in the ledger's directory that only the owner may use. A question is
//! one line of JSON, its answer another. See `docs/ledger-format.md`.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use super::{Answer, Holder, Question, TraceError};

const NAME: &str = "socket";
/// The socket is made in here, where nobody else can reach it before its mode is right.
const WORKSHOP: &str = "socket.tmp";
/// Longer questions are refused.
const LONGEST: u64 = 1 << 20;
/// How long one who connected may take to ask, so that it keeps nobody else waiting.
const ASK_WITHIN: Duration = Duration::from_secs(1);
/// How long an answer may take: the auditor answers between two chunks, and a settling comes in between.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Before the next try when no connection could be taken, as with too many files open.
const PAUSE: Duration = Duration::from_millis(100);

/// A question on its way to the auditor, and where its answer is to go.
pub struct Ask {
    pub question: Question,
    pub reply: Sender<Answer>,
}

/// Listens until it is dropped, and removes the socket then.
pub struct Listener {
    dir: PathBuf,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Replaces a socket that a killed process left: whoever holds the ledger's lock is alone. An audit goes on without
    /// a socket where there can be none.
    pub fn start(dir: &Path, asks: Sender<Ask>) -> Option<Self> {
        match Self::bind(dir, asks) {
            Ok(listener) => Some(listener),
            Err(error) => {
                tracing::warn!(%error, dir = %dir.display(), "no socket for questions: `sordini trace` has to wait until this run has ended");
                None
            }
        }
    }

    fn bind(dir: &Path, asks: Sender<Ask>) -> io::Result<Self> {
        let workshop = dir.join(WORKSHOP);
        if workshop.exists() {
            fs::remove_dir_all(&workshop)?;
        }
        DirBuilder::new().mode(0o700).create(&workshop)?;
        let made = make_socket(&workshop, dir);
        fs::remove_dir_all(&workshop)?;
        let (socket, done) = (made?, Arc::new(AtomicBool::new(false)));
        let is_done = done.clone();
        let thread = std::thread::Builder::new().name("questions".to_owned()).spawn(move || {
            for stream in socket.incoming() {
                if is_done.load(Ordering::Relaxed) {
                    return;
                }
                match stream.map(|stream| serve(&stream, &asks)) {
                    Ok(Ok(())) => {}
                    // One that asks nothing in time, or goes away, is its own affair.
                    Ok(Err(error)) => tracing::debug!(%error, "a question could not be answered"),
                    Err(error) => {
                        tracing::debug!(%error, "nobody could connect");
                        std::thread::sleep(PAUSE);
                    }
                }
            }
        })?;
        Ok(Self { dir: dir.to_owned(), done, thread: Some(thread) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        // Wakes the thread, which waits for somebody to connect. Where that fails, it ends with the process.
        let woken = connect(&self.dir).is_ok();
        if let (true, Some(thread)) = (woken, self.thread.take()) {
            // It holds nothing that could be lost.
            let _ = thread.join();
        }
        if let Err(error) = fs::remove_file(self.dir.join(NAME)) {
            tracing::debug!(%error, "the socket could not be removed; the next run replaces it");
        }
    }
}

fn make_socket(workshop: &Path, dir: &Path) -> io::Result<UnixListener> {
    let place = Place::of(workshop)?;
    let socket = UnixListener::bind(place.path())?;
    fs::set_permissions(workshop.join(NAME), Permissions::from_mode(0o600))?;
    fs::rename(workshop.join(NAME), dir.join(NAME))?;
    Ok(socket)
}

/// Answers one connection's questions, one after the other.
fn serve(stream: &UnixStream, asks: &Sender<Ask>) -> io::Result<()> {
    stream.set_read_timeout(Some(ASK_WITHIN))?;
    stream.set_write_timeout(Some(ASK_WITHIN))?;
    let mut lines = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if lines.by_ref().take(LONGEST).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let answer = match serde_json::from_str(&line) {
            Ok(question) => pass_on(question, asks),
            Err(error) => Answer::Failed { why: format!("no question: {error}") },
        };
        let mut text = serde_json::to_vec(&answer)?;
        text.push(b'\n');
        (&mut &*stream).write_all(&text)?;
    }
}

fn pass_on(question: Question, asks: &Sender<Ask>) -> Answer {
    let (reply, answer) = bounded(1);
    let why = match asks.send_timeout(Ask { question, reply }, ANSWER_WITHIN) {
        Ok(()) => match answer.recv_timeout(ANSWER_WITHIN) {
            Ok(answer) => return answer,
            Err(_) => "it is too busy or about to end",
        },
        Err(_) => "it is too busy or about to end",
    };
    Answer::Failed { why: why.to_owned() }
}

/// A live process that answers.
pub struct Live {
    stream: BufReader<UnixStream>,
    dir: PathBuf,
}

impl Live {
    /// Connects to the process that uses the ledger in `dir`.
    pub fn connect(dir: &Path) -> Result<Self, TraceError> {
        let connected = connect(dir).and_then(|stream| {
            stream.set_read_timeout(Some(ANSWER_WITHIN))?;
            Ok(stream)
        });
        let no_answer = |error: io::Error| TraceError::NoAnswer { path: dir.to_owned(), why: error.to_string() };
        Ok(Self { stream: BufReader::new(connected.map_err(no_answer)?), dir: dir.to_owned() })
    }

    fn exchange(&mut self, question: &Question) -> io::Result<Answer> {
        let mut text = serde_json::to_vec(question)?;
        text.push(b'\n');
        self.stream.get_mut().write_all(&text)?;
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Holder for Live {
    fn ask(&mut self, question: &Question) -> Result<Answer, TraceError> {
        match self.exchange(question) {
            Ok(Answer::Failed { why }) => Err(TraceError::Failed { why }),
            Ok(answer) => Ok(answer),
            Err(error) => Err(TraceError::NoAnswer { path: self.dir.clone(), why: error.to_string() }),
        }
    }
}

fn connect(dir: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(Place::of(dir)?.path())
}

/// The socket of a directory under a name that is short enough: a socket's path has some hundred bytes at most.
struct Place {
    dir: PathBuf,
    /// Open while the short name is used.
    _held: Option<File>,
}

const LONGEST_PATH: usize = 90;

impl Place {
    fn of(dir: &Path) -> io::Result<Self> {
        if dir.as_os_str().len() <= LONGEST_PATH {
            return Ok(Self { dir: dir.to_owned(), _held: None });
        }
        let held = File::open(dir)?;
        Ok(Self { dir: format!("/proc/self/fd/{}", held.as_raw_fd()).into(), _held: Some(held) })
    }

    fn path(&self) -> PathBuf {
        self.dir.join(NAME)
    }
}
