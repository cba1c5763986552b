//! Chromium without a screen, driven through chromedriver. The methods here wait for an answer; what they lack is to be had
//! through [`Browser::client`] and [`Browser::run`].

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::error::CmdError;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::process::{Directory, Process};
use crate::{broker, http, install, wait_for};

const LIMIT: Duration = Duration::from_secs(20);

/// Ends, chromium included, on drop and with the test process.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    runtime: Runtime,
    session: String,
    _process: Process,
    directory: Directory,
}

impl Browser {
    /// With a window of 1280 × 800.
    pub fn start() -> Self {
        install();
        let directory = Directory::new("Chromium");
        let port = broker::free_port(Ipv4Addr::LOCALHOST);
        let server = format!("http://127.0.0.1:{port}");
        let process = Process::start(&["chromedriver".to_owned(), format!("--port={port}")], &directory);
        wait_for("chromedriver is ready", Duration::from_secs(60), || {
            assert!(process.is_running(), "chromedriver ended:\n{}", process.log_tail());
            http::is_ready(&format!("{server}/status")).then_some(())
        });
        let profile = directory.join("profile");
        fs::create_dir(&profile).expect("the browser's directory is writable");
        let arguments = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--no-first-run".to_owned(),
            // Not a port: chromium ends when the pipe does, whatever became of chromedriver.
            "--remote-debugging-pipe".to_owned(),
            "--window-size=1280,800".to_owned(),
            format!("--user-data-dir={}", profile.display()),
        ];
        let capabilities = json!({
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
            "acceptInsecureCerts": true,
        });
        let capabilities = capabilities.as_object().expect("it is written as an object").clone();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let connected = runtime.block_on(builder.capabilities(capabilities).connect(&server));
        let client = connected.unwrap_or_else(|error| panic!("no browser: {error}\n{}", process.log_tail()));
        let id = runtime.block_on(client.session_id()).ok().flatten().expect("a session that has begun has an id");
        Self { client, runtime, session: format!("{server}/session/{id}"), _process: process, directory }
    }

    /// Where its profile and chromedriver's log are.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Waits for what [`Self::client`] was asked.
    pub fn run<T>(&self, future: impl Future<Output = Result<T, CmdError>>) -> T {
        self.runtime.block_on(future).unwrap_or_else(|error| panic!("the browser: {error}"))
    }

    /// Returns when the page has loaded.
    pub fn open(&self, url: &str) {
        self.run(self.client.goto(url));
    }

    pub fn title(&self) -> String {
        self.run(self.client.title())
    }

    /// Where the browser is.
    pub fn address(&self) -> String {
        self.run(self.client.current_url()).to_string()
    }

    /// The page's HTML as it stands now.
    pub fn source(&self) -> String {
        self.run(self.client.source())
    }

    /// Waits until an element matches the CSS selector.
    pub fn find(&self, css: &str) -> Element {
        self.run(self.client.wait().at_most(LIMIT).for_element(Locator::Css(css)))
    }

    /// Whether an element matches now.
    pub fn has(&self, css: &str) -> bool {
        !self.run(self.client.find_all(Locator::Css(css))).is_empty()
    }

    /// What the user sees of the first element that matches; waits for it.
    pub fn text(&self, css: &str) -> String {
        wait_for(&format!("{css} stays long enough to be read"), LIMIT, || {
            let element = self.find(css);
            // A page that shows what changes may have replaced it since.
            match self.runtime.block_on(element.text()) {
                Err(error) if error.is_stale_element_reference() => None,
                text => Some(text.unwrap_or_else(|error| panic!("the browser: {error}"))),
            }
        })
    }

    /// The same of every element that matches now.
    pub fn texts(&self, css: &str) -> Vec<String> {
        let elements = self.run(self.client.find_all(Locator::Css(css)));
        elements.iter().map(|element| self.run(element.text())).collect()
    }

    pub fn click(&self, css: &str) {
        let element = self.find(css);
        self.run(element.click());
    }

    /// Types into the element that matches; `\u{e007}` is the enter key.
    pub fn type_into(&self, css: &str, text: &str) {
        let element = self.find(css);
        self.run(element.send_keys(text));
    }

    /// What the script returns; it sees `arguments`.
    pub fn script(&self, script: &str, arguments: Vec<Value>) -> Value {
        self.run(self.client.execute(script, arguments))
    }

    pub fn resize(&self, width: u32, height: u32) {
        self.run(self.client.set_window_size(width, height));
    }

    /// What the page learns by media queries: `("prefers-color-scheme", "dark")`.
    pub fn prefers(&self, features: &[(&str, &str)]) {
        let features: Vec<_> = features.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        self.devtools("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// As a phone or another screen: width and height in the page's pixels.
    pub fn screen(&self, width: u32, height: u32, phone: bool) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// A command of Chromium's developer tools and its answer.
    pub fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.ask("goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    /// What the page, or the browser about it, has written to the console since the last call: errors of scripts, of the
    /// content security policy, of loading.
    pub fn console(&self) -> Vec<String> {
        let entries = self.ask("se/log", &json!({"type": "browser"}));
        let entries = entries.as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn ask(&self, what: &str, question: &Value) -> Value {
        let url = format!("{}/{what}", self.session);
        http::parsed(&url, http::post(&url, question))["value"].take()
    }

    /// A PNG of the whole page, however long, at its present width.
    pub fn screenshot(&self, path: &Path) {
        let size = self.script("return [window.innerWidth, document.documentElement.scrollHeight]", Vec::new());
        let metrics = json!({"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics);
        let png = self.run(self.client.screenshot());
        self.devtools("Emulation.clearDeviceMetricsOverride", json!({}));
        fs::write(path, png).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // So that chromium is gone before its directory is. Should it fail, the process is killed anyway.
        if let Err(error) = self.runtime.block_on(self.client.clone().close()) {
            eprintln!("the browser did not close: {error}");
        }
    }
}
