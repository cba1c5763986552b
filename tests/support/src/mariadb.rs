//! A MariaDB with its data in a directory of its own.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use ::mysql::prelude::Queryable as _;
use ::mysql::{Conn, Opts};

use crate::process::{Directory, Process};
use crate::{broker, install, wait_for};

const READY_LIMIT: Duration = Duration::from_secs(60);
const SERVER: &str = "/usr/sbin/mariadbd";
/// Who the server becomes where it is started as root.
const USER: &str = "mysql";
/// Whom everybody is on loopback: the superuser, and one with no rights until a database gives them.
const USERS: &str = "\
CREATE USER IF NOT EXISTS 'root'@'127.0.0.1';
GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;
CREATE USER IF NOT EXISTS 'audit'@'127.0.0.1';
";

/// Stops on drop and with the test process.
#[derive(Debug)]
pub struct Mariadb {
    port: u16,
    process: Process,
    _directory: Directory,
}

/// The one that the tests of a binary have in common; each makes a database of its own.
pub fn shared() -> &'static Mariadb {
    static SHARED: OnceLock<Mariadb> = OnceLock::new();
    SHARED.get_or_init(|| Mariadb::start(&[]))
}

impl Mariadb {
    /// With further settings, each `name=value`.
    pub fn start(settings: &[&str]) -> Self {
        install();
        let directory = Directory::new("MariaDB");
        let data = format!("--datadir={}", directory.join("data").display());
        let users = directory.write("users.sql", USERS);
        let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
        let mut own = vec!["--no-defaults".to_owned(), data];
        if is_root {
            let owned = Command::new("chown").arg("-R").arg(USER).arg(&*directory).status();
            assert!(owned.is_ok_and(|status| status.success()), "the directory is given to {USER}");
            own.push(format!("--user={USER}"));
        }
        let made = Command::new("mariadb-install-db")
            .args(&own)
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            .output()
            .expect("mariadb-install-db starts");
        assert!(made.status.success(), "mariadb-install-db: {}", String::from_utf8_lossy(&made.stderr));
        let port = broker::free_port(Ipv4Addr::LOCALHOST);
        let mut command = vec![SERVER.to_owned()];
        command.extend(own);
        command.extend([
            format!("--port={port}"),
            format!("--socket={}", directory.join("socket").display()),
            format!("--pid-file={}", directory.join("pid").display()),
            format!("--init-file={}", users.display()),
        ]);
        let fast = ["innodb-flush-log-at-trx-commit=0", "innodb-buffer-pool-size=64M", "innodb-log-file-size=16M"];
        let fixed = ["bind-address=127.0.0.1", "skip-name-resolve=1", "character-set-server=utf8mb4"];
        command.extend(fixed.iter().chain(&fast).chain(settings).map(|setting| format!("--{setting}")));
        let process = Process::start(&command, &directory);
        let made = Self { port, process, _directory: directory };
        wait_for("MariaDB is ready", READY_LIMIT, || {
            assert!(made.process.is_running(), "MariaDB ended:\n{}", made.process.log_tail());
            Conn::new(made.options("mysql")).ok()
        });
        made
    }

    /// As the superuser.
    pub fn url(&self, database: &str) -> String {
        self.url_as("root", database)
    }

    pub fn url_as(&self, user: &str, database: &str) -> String {
        format!("mysql://{user}@127.0.0.1:{}/{database}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes a database that the user `audit` may read.
    pub fn database(&self, name: &str) -> Conn {
        let mut conn = self.client("mysql");
        conn.query_drop(format!("CREATE DATABASE {name}")).expect("the database is new");
        conn.query_drop(format!("GRANT SELECT ON {name}.* TO 'audit'@'127.0.0.1'"))
            .expect("the user can be given rights");
        self.client(name)
    }

    pub fn client(&self, database: &str) -> Conn {
        Conn::new(self.options(database)).expect("the server takes connections")
    }

    fn options(&self, database: &str) -> Opts {
        Opts::from_url(&format!("{}?prefer_socket=false", self.url(database))).expect("the URL is one")
    }

    pub fn log(&self) -> String {
        self.process.log()
    }
}
