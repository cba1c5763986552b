//! A PostgreSQL with its data in a directory of its own.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use ::postgres::{Client, NoTls};

use crate::certs::Certificates;
use crate::process::{Directory, Process};
use crate::{broker, install, wait_for};

const READY_LIMIT: Duration = Duration::from_secs(60);
/// The server refuses to run as root.
const USER: &str = "postgres";

/// Stops on drop and with the test process.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    command: Vec<String>,
    process: Process,
    directory: Directory,
}

/// Ends when it is dropped.
#[derive(Debug)]
pub struct Archive {
    _process: Process,
    _directory: Directory,
}

/// The one that the tests of a binary have in common; each makes a database of its own.
pub fn shared() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| Postgres::start(&[]))
}

impl Postgres {
    /// With further settings, each `name=value`.
    pub fn start(settings: &[&str]) -> Self {
        Self::start_prepared(settings, |_| {})
    }

    /// Takes the role `audit` over TLS alone.
    pub fn start_with_tls(certificates: &Certificates) -> Self {
        let store = fs::read_to_string(&certificates.server_store).expect("the server's certificate is there");
        let at = store.find("-----BEGIN CERTIFICATE").expect("the store has a certificate");
        let (key, certificate) = store.split_at(at);
        Self::start_prepared(&["ssl=on"], |data| {
            let rules = "hostssl all audit 127.0.0.1/32 trust\nhost all postgres 127.0.0.1/32 trust\n";
            for (name, text) in [("server.key", key), ("server.crt", certificate), ("pg_hba.conf", rules)] {
                let path = data.join(name);
                fs::write(&path, text).expect("the data directory is writable");
                // Of the directory's owner, and nobody else's.
                let owned = Command::new("chown").arg("--reference").arg(data).arg(&path).status();
                let closed = Command::new("chmod").arg("600").arg(&path).status();
                assert!([owned, closed].into_iter().all(|done| done.is_ok_and(|status| status.success())), "{name}");
            }
        })
    }

    fn start_prepared(settings: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        install();
        let directory = Directory::new("PostgreSQL");
        let data = directory.join("data");
        let options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"];
        make(&directory, &data, "initdb", &options);
        prepare(&data);
        Self::launch(directory, &data, settings)
    }

    /// A standby that replays this server's log.
    pub fn standby(&self) -> Self {
        let directory = Directory::new("standby");
        let data = directory.join("data");
        let port = self.port.to_string();
        make(
            &directory,
            &data,
            "pg_basebackup",
            &["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-R", "-c", "fast"],
        );
        Self::launch(directory, &data, &[])
    }

    /// Runs a file by psql, as somebody whose terminal has this encoding.
    pub fn run_file(&self, database: &str, encoding: &str, file: &str) -> String {
        let done = Command::new(bin().join("psql"))
            .args(["-X", "-v", "ON_ERROR_STOP=1", "-d", &self.url(database), "-f", file])
            .env("PGCLIENTENCODING", encoding)
            .output()
            .expect("psql is installed");
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{file}: {out}\n{err}");
        out.into_owned()
    }

    /// Receives its log and keeps it, and replays nothing of it.
    pub fn archive(&self) -> Archive {
        let directory = Directory::new("archive");
        give(&directory);
        let (port, path) = (self.port.to_string(), directory.display().to_string());
        let mut command = as_user();
        command.push(bin().join("pg_receivewal").display().to_string());
        command.extend(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-D", &path].map(str::to_owned));
        let archive = Archive { _process: Process::start(&command, &directory), _directory: directory };
        let mut client = self.client("postgres");
        wait_for("the archive receives the log", READY_LIMIT, || {
            let statement =
                "SELECT FROM pg_stat_replication WHERE application_name = 'pg_receivewal' AND state = 'streaming'";
            client.query_opt(statement, &[]).expect("a right")
        });
        archive
    }

    fn launch(directory: Directory, data: &Path, settings: &[&str]) -> Self {
        let port = broker::free_port(Ipv4Addr::LOCALHOST);
        let mut command = as_user();
        command.extend([bin().join("postgres").display().to_string(), "-D".to_owned(), data.display().to_string()]);
        let own = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "max_connections=50",
            "wal_level=logical",
        ];
        let port_setting = format!("port={port}");
        for setting in own.iter().chain(settings).chain([&port_setting.as_str()]) {
            command.extend(["-c".to_owned(), (*setting).to_owned()]);
        }
        let process = Process::start(&command, &directory);
        let made = Self { port, command, process, directory };
        made.wait_until_ready();
        made
    }

    fn wait_until_ready(&self) {
        wait_for("PostgreSQL is ready", READY_LIMIT, || {
            assert!(self.process.is_running(), "PostgreSQL ended:\n{}", self.process.log_tail());
            Client::connect(&self.url("postgres"), NoTls).ok()
        });
    }

    /// After [`Postgres::kill`], with all that was committed.
    pub fn start_again(&mut self) {
        wait_for("PostgreSQL has ended", READY_LIMIT, || (!self.process.is_running()).then_some(()));
        self.process = Process::start(&self.command, &self.directory);
        self.wait_until_ready();
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Seconds of processor time that its backends have taken, as far as they have ended.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap_or_default();
        let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        // cutime and cstime, in hundredths.
        let ticks = fields.split_whitespace().skip(13).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
        ticks.sum::<f64>() / 100.0
    }

    /// As the superuser.
    pub fn url(&self, database: &str) -> String {
        self.url_as("postgres", database)
    }

    pub fn url_as(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes a database, with a role `audit` that may read what is made there.
    pub fn database(&self, name: &str) -> Client {
        let mut client = self.client("postgres");
        client.batch_execute(&format!("CREATE DATABASE {name}")).expect("the database is new");
        let role = "DO $$ BEGIN CREATE ROLE audit LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$";
        client.batch_execute(role).expect("the role can be made");
        let mut client = self.client(name);
        let grant = "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO audit";
        client.batch_execute(grant).expect("the role can be given rights");
        client
    }

    pub fn client(&self, database: &str) -> Client {
        Client::connect(&self.url(database), NoTls).expect("the server takes connections")
    }

    pub fn pause(&self) {
        self.process.pause();
    }

    /// Ends it as a crash would.
    pub fn kill(&self) {
        let killed = Command::new("sh").args(["-c", &format!("kill -QUIT {}", self.process.id())]).status();
        assert!(killed.is_ok_and(|status| status.success()), "the server is there to be killed");
    }

    pub fn log(&self) -> String {
        self.process.log()
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n")
}

/// What comes before a command of the server's.
fn as_user() -> Vec<String> {
    let run: &[&str] = if is_root() { &["setpriv", "--reuid", USER, "--regid", USER, "--init-groups"] } else { &[] };
    run.iter().map(|word| (*word).to_owned()).collect()
}

/// Makes a data directory.
fn make(directory: &Directory, data: &Path, program: &str, options: &[&str]) {
    give(directory);
    let mut command = as_user();
    command.extend([bin().join(program).display().to_string(), "-D".to_owned(), data.display().to_string()]);
    command.extend(options.iter().map(|option| (*option).to_owned()));
    let made =
        Command::new(&command[0]).args(&command[1..]).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(made.status.success(), "{program}: {}", String::from_utf8_lossy(&made.stderr));
}

/// To whom the server runs as.
fn give(directory: &Directory) {
    if is_root() {
        let owned = Command::new("chown").arg(USER).arg(&**directory).status();
        assert!(owned.is_ok_and(|status| status.success()), "the directory is given to {USER}");
    }
}

/// The newest version that is installed; Debian keeps several side by side.
fn bin() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let number = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let newest =
        versions.map(|entry| entry.path()).filter(|path| path.join("bin/postgres").exists()).max_by_key(number);
    newest.expect("scripts/servers installs PostgreSQL").join("bin")
}
