//! One broker, controller included.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{fs, process};

use crate::certs::Certificates;
use crate::client::Client;
use crate::process::{Directory, Process};
use crate::{java, wait_for};

/// Name and password of the user every SASL mechanism knows.
pub const USER: (&str, &str) = ("alice", "alice-secret");
/// Same, but the authorizer's `super.users` names only [`USER`], and this one has no rights unless granted.
pub const OTHER_USER: (&str, &str) = ("bob", "bob-secret");

const READY_LIMIT: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    #[default]
    None,
    Requested,
    Required,
}

#[derive(Clone, Debug)]
pub struct Options {
    /// Adds the listeners SSL, SASL_SSL and SASL_PLAINTEXT, with PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and unsecured
    /// OAUTHBEARER.
    pub secure: bool,
    /// Whether the SSL listener asks for a client certificate.
    pub client_auth: ClientAuth,
    /// Grants by access lists only. The PLAINTEXT listener's user (`ANONYMOUS`) and [`USER`] may do everything.
    pub authorizer: bool,
    /// Further broker properties; they win over the laboratory's.
    pub properties: Vec<(String, String)>,
    pub heap_mb: u32,
    /// Further arguments of the virtual machine; they win over the laboratory's, which make it start quickly.
    pub java: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            secure: false,
            client_auth: ClientAuth::None,
            authorizer: false,
            properties: Vec::new(),
            heap_mb: 512,
            java: Vec::new(),
        }
    }
}

impl Options {
    pub fn secure() -> Self {
        Self { secure: true, ..Self::default() }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.properties.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A running broker; stops, and its directory goes, on drop and with the test process.
#[derive(Debug)]
pub struct Kafka {
    node: Node,
    client: Client,
}

impl Kafka {
    pub fn start(options: Options) -> Self {
        let mut node = Node::new(1, Ipv4Addr::LOCALHOST, options);
        node.format(&[node.voter()]);
        node.launch();
        node.wait_until_ready();
        let client = Client::new(node.address(Listener::Plaintext));
        Self { node, client }
    }

    pub fn bootstrap(&self) -> String {
        self.node.address(Listener::Plaintext)
    }

    pub fn address(&self, listener: Listener) -> String {
        self.node.address(listener)
    }

    /// Of the TLS listeners; panics unless [`Options::secure`].
    pub fn certificates(&self) -> &Certificates {
        self.node.certificates.as_ref().expect("this broker has no TLS listener: start it with Options::secure()")
    }

    pub fn log(&self) -> String {
        self.node.process().log()
    }

    /// The broker falls silent, its connections stay open.
    pub fn pause(&self) {
        self.node.process().pause();
    }

    pub fn resume(&self) {
        self.node.process().resume();
    }

    /// Ends the broker as a crash would.
    pub fn kill(&mut self) {
        self.node.kill();
    }

    /// Starts a killed broker again, on the same ports, and waits until it serves.
    pub fn restart(&mut self) {
        self.node.launch();
        self.node.wait_until_ready();
    }

    pub fn log_directory(&self, topic: &str, partition: i32) -> PathBuf {
        self.node.log_directory(topic, partition)
    }

    /// Waits until the cleaner has been over everything below `until`.
    pub fn wait_until_cleaned(&self, topic: &str, partition: i32, until: i64) {
        let checkpoint = self.node.directory.join("data/cleaner-offset-checkpoint");
        let what = format!("{topic}/{partition} is cleaned up to {until}");
        wait_for(&what, Duration::from_secs(60), || {
            let text = fs::read_to_string(&checkpoint).unwrap_or_default();
            let line =
                text.lines().find_map(|l| l.strip_prefix(&format!("{topic} {partition} ")).map(str::to_owned))?;
            (line.parse::<i64>().ok()? >= until).then_some(())
        });
    }

    /// Compacts all that is in the partition of a topic made with [`crate::client::COMPACTED`], and says up to which
    /// offset. Writes one more record, keyed `roll`, because the active segment is never cleaned and rolls only on an
    /// append after `segment.ms`.
    pub fn compact(&self, topic: &str, partition: i32) -> i64 {
        let (_, end) = self.client.watermarks(topic, partition);
        std::thread::sleep(crate::client::SEGMENT_AGE + Duration::from_millis(200));
        self.client.producer(&[]).send_all(&[crate::Record::new(topic, partition).key("roll").value("roll")]);
        self.wait_until_cleaned(topic, partition, end);
        end
    }

    /// Kafka's dump of every segment of the partition, records included.
    pub fn dump_log(&self, topic: &str, partition: i32) -> String {
        let directory = fs::read_dir(self.log_directory(topic, partition)).expect("the partition has a directory");
        let mut files: Vec<_> = directory.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|e| e == "log"));
        files.sort();
        let files: Vec<_> = files.iter().map(|path| path.display().to_string()).collect();
        java::run("org.apache.kafka.tools.DumpLogSegments", &["--print-data-log", "--files", &files.join(",")])
    }

    /// Grants `user` operations (`Read`, `Describe` …) on a topic.
    pub fn grant(&self, user: &str, operations: &[&str], topic: &str) {
        self.rule("--allow-principal", user, operations, &["--topic", topic]);
    }

    /// The same on a group, `*` for all of them. OffsetFetch wants `Describe`.
    pub fn grant_group(&self, user: &str, operations: &[&str], group: &str) {
        self.rule("--allow-principal", user, operations, &["--group", group]);
    }

    /// Wins over what was granted: with `Describe`, a group's OffsetFetch is refused.
    pub fn deny_group(&self, user: &str, operations: &[&str], group: &str) {
        self.rule("--deny-principal", user, operations, &["--group", group]);
    }

    /// Grants `user` operations on the cluster itself: `Describe` to list all groups.
    pub fn grant_cluster(&self, user: &str, operations: &[&str]) {
        self.rule("--allow-principal", user, operations, &["--cluster"]);
    }

    fn rule(&self, effect: &str, user: &str, operations: &[&str], resource: &[&str]) {
        let (bootstrap, principal) = (self.bootstrap(), format!("User:{user}"));
        let mut args = vec!["--bootstrap-server", &bootstrap, "--add", effect, &principal];
        operations.iter().for_each(|operation| args.extend(["--operation", operation]));
        args.extend(resource);
        java::run("org.apache.kafka.tools.AclCommand", &args);
    }

    /// Writes a client properties file for Kafka's tools; its path.
    pub fn client_properties(&self, name: &str, properties: &[(&str, &str)]) -> PathBuf {
        let text: String = properties.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        self.node.directory.write(&format!("{name}.properties"), &text)
    }
}

impl Deref for Kafka {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// The plain broker that all tests of one binary share; it ends with the process. Tests use topics of their own.
pub fn shared() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED.get_or_init(|| Kafka::start(Options::default()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    Plaintext,
    Ssl,
    SaslSsl,
    SaslPlaintext,
    Controller,
}

impl Listener {
    fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslSsl => "SASL_SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::Controller => "CONTROLLER",
        }
    }
}

/// A broker process and its directory, alone or in a cluster.
#[derive(Debug)]
pub(crate) struct Node {
    id: u32,
    ip: Ipv4Addr,
    options: Options,
    ports: Vec<(Listener, u16)>,
    certificates: Option<Certificates>,
    process: Option<Process>,
    directory: Directory,
}

impl Node {
    pub fn new(id: u32, ip: Ipv4Addr, options: Options) -> Self {
        let directory = Directory::new(&format!("broker {id}"));
        let mut listeners = vec![Listener::Plaintext, Listener::Controller];
        if options.secure {
            listeners.extend([Listener::Ssl, Listener::SaslSsl, Listener::SaslPlaintext]);
        }
        let ports = listeners.into_iter().map(|listener| (listener, free_port(ip))).collect();
        let certificates = options.secure.then(|| Certificates::make(&directory));
        Self { id, ip, options, ports, directory, certificates, process: None }
    }

    pub fn address(&self, listener: Listener) -> String {
        let port = self.ports.iter().find(|(l, _)| *l == listener).map(|(_, port)| port);
        format!("{}:{}", self.ip, port.unwrap_or_else(|| panic!("this broker has no {} listener", listener.name())))
    }

    pub fn voter(&self) -> String {
        format!("{}@{}", self.id, self.address(Listener::Controller))
    }

    pub fn log_directory(&self, topic: &str, partition: i32) -> PathBuf {
        self.directory.join(format!("data/{topic}-{partition}"))
    }

    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("the broker has been stopped")
    }

    fn properties_file(&self) -> String {
        self.directory.join("server.properties").display().to_string()
    }

    pub fn format(&self, voters: &[String]) {
        self.directory.write("server.properties", &self.properties(voters));
        let mut args = vec!["format", "-t", "sordini-lab-cluster-id", "-c"];
        let file = self.properties_file();
        args.push(&file);
        let scram: Vec<_> = [USER, OTHER_USER]
            .iter()
            .flat_map(|(name, password)| {
                ["256", "512"].map(|n| format!("SCRAM-SHA-{n}=[name={name},password={password}]"))
            })
            .collect();
        if self.options.secure {
            scram.iter().for_each(|user| args.extend(["--add-scram", user]));
        }
        java::run("kafka.tools.StorageTool", &args);
    }

    pub fn launch(&mut self) {
        let heap = format!("-Xmx{}m", self.options.heap_mb);
        let (class_path, file, logging) = (java::class_path(), self.properties_file(), java::logging());
        let own = self.options.java.iter().map(String::as_str);
        let command = ["java", &heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", &logging].into_iter().chain(own);
        let command: Vec<_> = command.chain(["-cp", &class_path, "kafka.Kafka", &file]).map(str::to_owned).collect();
        self.process = Some(Process::start(&command, &self.directory));
    }

    pub fn wait_until_ready(&self) {
        let process = self.process();
        wait_for(&format!("broker {} is ready", self.id), READY_LIMIT, || {
            assert!(process.is_running(), "broker {} ended:\n{}", self.id, process.log_tail());
            process.log().contains("Kafka Server started").then_some(())
        });
    }

    /// Ends the process at once, as a crash would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    fn properties(&self, voters: &[String]) -> String {
        let mut text = include_str!("../broker.properties").to_owned();
        let mut set = |name: &str, value: &str| writeln!(text, "{name}={value}").expect("writing to a string");
        let listeners: Vec<_> = self
            .ports
            .iter()
            .map(|(listener, _)| format!("{}://{}", listener.name(), self.address(*listener)))
            .collect();
        set("node.id", &self.id.to_string());
        set("log.dirs", &self.directory.join("data").display().to_string());
        set("listeners", &listeners.join(","));
        set("controller.quorum.voters", &voters.join(","));
        set("inter.broker.listener.name", Listener::Plaintext.name());
        if let Some(certificates) = &self.certificates {
            secure(&mut set, certificates, self.options.client_auth);
        }
        if self.options.authorizer {
            set("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
            set("super.users", &format!("User:ANONYMOUS;User:{}", USER.0));
        }
        self.options.properties.iter().for_each(|(name, value)| set(name, value));
        text
    }
}

fn secure(set: &mut dyn FnMut(&str, &str), certificates: &Certificates, client_auth: ClientAuth) {
    let path = |path: &Path| path.display().to_string();
    let plain = "org.apache.kafka.common.security.plain.PlainLoginModule required";
    let users: String = [USER, OTHER_USER].iter().map(|(name, word)| format!(" user_{name}=\"{word}\"")).collect();
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    let bearer = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                  unsecuredLoginStringClaim_sub=\"server\";";
    let plain = format!("{plain}{users};");
    set(
        "listener.security.protocol.map",
        "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,SASL_PLAINTEXT:SASL_PLAINTEXT",
    );
    set("ssl.keystore.type", "PEM");
    set("ssl.keystore.location", &path(&certificates.server_store));
    set("ssl.truststore.type", "PEM");
    set("ssl.truststore.location", &path(&certificates.ca));
    let asks = match client_auth {
        ClientAuth::None => "none",
        ClientAuth::Requested => "requested",
        ClientAuth::Required => "required",
    };
    set("listener.name.ssl.ssl.client.auth", asks);
    set("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER");
    let modules =
        [("plain", plain.as_str()), ("scram-sha-256", scram), ("scram-sha-512", scram), ("oauthbearer", bearer)];
    for listener in ["sasl_ssl", "sasl_plaintext"] {
        for (mechanism, module) in modules {
            set(&format!("listener.name.{listener}.{mechanism}.sasl.jaas.config"), module);
        }
    }
}

/// A port below the range that outgoing connections take theirs from, so that none can get in between.
pub(crate) fn free_port(ip: Ipv4Addr) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..20_000 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + (process::id().wrapping_mul(7919).wrapping_add(step) % 20_000) as u16;
        if TcpListener::bind((IpAddr::V4(ip), port)).is_ok() {
            return port;
        }
    }
    panic!("no free port on {ip}");
}
