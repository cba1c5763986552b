//! The other end of a webhook: writes down what it is sent and answers as told.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read as _, Result, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

const BODY_LIMIT: usize = 64 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Status(u16),
    /// With a `Retry-After` header.
    Later {
        status: u16,
        retry_after_s: u32,
    },
    /// Nothing until another answer is set: then the connection is closed.
    Hang,
    /// Takes the request and closes the connection.
    Close,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// With the query.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub at: Instant,
    /// What the sender got.
    pub answer: Answer,
}

impl Request {
    /// The first header of this name, in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    /// Whether the sender was told that all is well.
    pub fn was_taken(&self) -> bool {
        matches!(self.answer, Answer::Status(200..=299))
    }
}

struct State {
    answer: Answer,
    next: VecDeque<Answer>,
    requests: Vec<Request>,
    stopping: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panicked")
    }
}

/// Listens on loopback until it is dropped; from then on connections are refused.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Receiver {
    /// On a port of its own, answering 200.
    pub fn start() -> Self {
        Self::on(crate::free_port())
    }

    /// On a port that is known: to come back where another one was dropped.
    pub fn on(port: u16) -> Self {
        let listener = crate::wait_for("the receiver's port is free", Duration::from_secs(10), || {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
        });
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = State { answer: Answer::Status(200), next: VecDeque::new(), requests: Vec::new(), stopping: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let theirs = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &theirs));
        Self { address, shared }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// From now on.
    pub fn answer(&self, answer: Answer) {
        self.shared.lock().answer = answer;
        self.shared.changed.notify_all();
    }

    /// The next requests, one each; then again what [`Self::answer`] said.
    pub fn answer_next(&self, answers: &[Answer]) {
        self.shared.lock().next.extend(answers);
        self.shared.changed.notify_all();
    }

    /// All since the start, in the order they arrived.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// Those since the start or the last call.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.shared.lock().requests)
    }

    /// Waits until there are `count` requests, and returns all there are.
    pub fn wait_for(&self, count: usize, limit: Duration) -> Vec<Request> {
        crate::wait_for(&format!("{count} requests arrive at {}", self.url()), limit, || {
            Some(self.requests()).filter(|requests| requests.len() >= count)
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.changed.notify_all();
        drop(TcpStream::connect(self.address)); // wakes the thread that accepts
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.lock().stopping {
            return;
        }
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // A sender that goes away in the middle has sent nothing.
            if let Ok(stream) = stream {
                drop(serve(stream, &shared));
            }
        });
    }
}

/// One request a connection.
fn serve(mut stream: TcpStream, shared: &Shared) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut request = read(&mut BufReader::new(&stream))?;
    let mut state = shared.lock();
    let answer = state.next.pop_front().unwrap_or(state.answer);
    request.answer = answer;
    state.requests.push(request);
    if answer == Answer::Hang {
        let hangs = |state: &mut State| !state.stopping && state.answer == Answer::Hang;
        drop(shared.changed.wait_while(state, hangs).expect("no thread panicked"));
        return Ok(());
    }
    drop(state);
    let (status, more) = match answer {
        Answer::Status(status) => (status, String::new()),
        Answer::Later { status, retry_after_s } => (status, format!("Retry-After: {retry_after_s}\r\n")),
        Answer::Hang | Answer::Close => return Ok(()),
    };
    write!(stream, "HTTP/1.1 {status} told\r\n{more}Content-Length: 2\r\nConnection: close\r\n\r\nok")
}

fn read(reader: &mut impl BufRead) -> Result<Request> {
    let line = line(reader)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Err(broken(&line)) };
    let mut headers = Vec::new();
    loop {
        let line = self::line(reader)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| broken(&line))?;
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    let mut request =
        Request { method, path, headers, body: Vec::new(), at: Instant::now(), answer: Answer::Status(200) };
    if request.header("transfer-encoding").is_some_and(|how| how.eq_ignore_ascii_case("chunked")) {
        loop {
            let size = line_of_chunk(reader)?;
            take(reader, size, &mut request.body)?;
            self::line(reader)?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(size) = request.header("content-length") {
        let size = size.parse().map_err(|_| broken(size))?;
        take(reader, size, &mut request.body)?;
    }
    Ok(request)
}

fn line(reader: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    match reader.take(64 << 10).read_line(&mut line)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end().to_owned()),
    }
}

fn line_of_chunk(reader: &mut impl BufRead) -> Result<usize> {
    let line = line(reader)?;
    let size = line.split(';').next().unwrap_or_default();
    usize::from_str_radix(size, 16).map_err(|_| broken(&line))
}

fn take(reader: &mut impl BufRead, size: usize, body: &mut Vec<u8>) -> Result<()> {
    if body.len() + size > BODY_LIMIT {
        return Err(broken("the body is too long"));
    }
    let start = body.len();
    body.resize(start + size, 0);
    reader.read_exact(&mut body[start..])
}

fn broken(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what.to_owned())
}
