//! The server as others meet it: over real sockets.

mod access;
mod api;
mod pages;
mod running;
mod scale;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::board::Pulse;
use super::sample::{self, EVIL, NOON, Recorded};
use super::*;
use crate::config::serve::{BasicAuthFile, Compat, ServeFile, TlsFile};

const TOKEN: &str = "0123456789abcdef-the-token";

struct Running {
    server: Server,
    board: Arc<board::Board>,
    actions: Arc<Recorded>,
    agent: Agent,
    runtime: tokio::runtime::Runtime,
    _files: tempfile::TempDir,
}

fn start(change: impl FnOnce(&mut ServeFile, &dyn Fn(&str, &str) -> PathBuf)) -> Running {
    let files = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let mut file = ServeFile { listen: "127.0.0.1:0".parse().unwrap(), ..ServeFile::default() };
    file.compat = vec![Compat::KafkaExporter, Compat::LagExporter];
    change(&mut file, &write);
    let (board, actions) = (sample::board(), Arc::new(Recorded::default()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let settings = Settings::read(&file).unwrap();
    let server =
        Server::start_on(runtime.handle().clone(), settings, board.clone(), actions.clone(), Info::default(), || NOON)
            .unwrap();
    let agent = Agent::config_builder().http_status_as_error(false).max_redirects(0).build().new_agent();
    Running { server, board, actions, agent, runtime, _files: files }
}

fn open() -> Running {
    start(|_, _| {})
}

fn with_token() -> Running {
    start(|file, write| file.token_file = Some(write("token", TOKEN)))
}

impl Running {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address())
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
        let request = headers.iter().fold(self.agent.get(self.url(path)), |r, (name, value)| r.header(*name, *value));
        request.call().unwrap()
    }

    fn status(&self, path: &str, headers: &[(&str, &str)]) -> u16 {
        self.get(path, headers).status().as_u16()
    }

    fn text(&self, path: &str) -> String {
        let mut response = self.get(path, &[("accept", "text/html")]);
        assert_eq!(response.status(), 200, "{path}");
        response.body_mut().read_to_string().unwrap()
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).unwrap()
    }

    fn form(&self, path: &str, headers: &[(&str, &str)], form: &[(&str, &str)]) -> Response<Body> {
        let request = headers.iter().fold(self.agent.post(self.url(path)), |r, (name, value)| r.header(*name, *value));
        request.send_form(form.iter().copied()).unwrap()
    }

    fn send(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Response<Body> {
        let request = headers.iter().fold(self.agent.post(self.url(path)), |r, (name, value)| r.header(*name, *value));
        request.header("content-type", "application/json").send(body).unwrap()
    }

    /// A cookie and the token that forms of its page carry.
    fn page(&self, path: &str, cookie: &str) -> (String, String) {
        let mut response = self.get(path, &[("cookie", cookie)]);
        let set = response.headers().get("set-cookie").map(|value| value.to_str().unwrap().to_owned());
        let cookie = set.map_or(cookie.to_owned(), |set| set.split(';').next().unwrap().to_owned());
        let text = response.body_mut().read_to_string().unwrap();
        let token = text.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        (cookie, token)
    }

    fn calls(&self) -> Vec<String> {
        self.actions.calls.lock().unwrap().clone()
    }
}

/// To look at: `SORDINI_LOOK=127.0.0.1:9318 cargo test -- --ignored the_sample_board_is_served`.
#[test]
#[ignore = "serves the sample until it is killed, for people who want to look"]
fn the_sample_board_is_served() {
    let address = std::env::var("SORDINI_LOOK").unwrap_or("127.0.0.1:9318".to_owned());
    let _running = start(|file, _| file.listen = address.parse().unwrap());
    std::thread::sleep(Duration::from_secs(3_600));
}
