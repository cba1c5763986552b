//! Kafka Connect in one process: a worker with one connector, Debezium's for PostgreSQL or MirrorMaker's for topics.

use std::time::Duration;

use crate::process::{Directory, Process};
use crate::{Kafka, Postgres, free_port, http, install, java, root, wait_for};

const READY_LIMIT: Duration = Duration::from_secs(120);

/// Stops on drop and with the test process.
#[derive(Debug)]
pub struct Connect {
    process: Process,
    _directory: Directory,
}

impl Connect {
    /// Starts a worker with this connector, and waits until its task runs.
    pub fn start(kafka: &Kafka, name: &str, connector: &[(&str, &str)]) -> Self {
        install();
        let directory = Directory::new("Kafka Connect");
        let port = free_port();
        let worker = format!(
            "bootstrap.servers={}\nlisteners=http://127.0.0.1:{port}\noffset.storage.file.filename={}\n\
             offset.flush.interval.ms=500\nplugin.discovery=service_load\nplugin.path={}\n\
             key.converter=org.apache.kafka.connect.json.JsonConverter\nkey.converter.schemas.enable=false\n\
             value.converter=org.apache.kafka.connect.json.JsonConverter\nvalue.converter.schemas.enable=false\n",
            kafka.bootstrap(),
            directory.join("offsets").display(),
            directory.display(),
        );
        let mut properties = format!("name={name}\ntasks.max=1\n");
        connector.iter().for_each(|(key, value)| properties.push_str(&format!("{key}={value}\n")));
        let (worker, connector) =
            (directory.write("worker.properties", &worker), directory.write("connector.properties", &properties));
        let class_path = root().join(".servers/connect/lib/*").display().to_string();
        let logging = java::logging();
        let own = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", &logging, "-cp", &class_path];
        let mut command: Vec<String> = own.map(str::to_owned).into();
        command.push("org.apache.kafka.connect.cli.ConnectStandalone".to_owned());
        command.extend([worker, connector].map(|path| path.display().to_string()));
        let made = Self { process: Process::start(&command, &directory), _directory: directory };
        wait_for("the connector runs", READY_LIMIT, || {
            assert!(made.process.is_running(), "Kafka Connect ended:\n{}", made.process.log_tail());
            let status = format!("http://127.0.0.1:{port}/connectors/{name}/status");
            let Ok((200, status)) = http::get(&status) else { return None };
            assert!(!status.contains("FAILED"), "{status}\n{}", made.process.log_tail());
            let task = &status[status.find("\"tasks\":[")?..];
            task.contains("RUNNING").then_some(())
        });
        made
    }

    /// Captures a table of `public`: into topic `PREFIX.public.TABLE`, by a slot of the prefix's name.
    pub fn capture(kafka: &Kafka, postgres: &Postgres, database: &str, table: &str, prefix: &str) -> Self {
        let (port, table) = (postgres.port().to_string(), format!("public.{table}"));
        let properties = [
            ("connector.class", "io.debezium.connector.postgresql.PostgresConnector"),
            ("database.hostname", "127.0.0.1"),
            ("database.port", &port),
            ("database.user", "postgres"),
            ("database.password", "none"),
            ("database.dbname", database),
            ("topic.prefix", prefix),
            ("slot.name", prefix),
            ("plugin.name", "pgoutput"),
            ("publication.name", prefix),
            ("publication.autocreate.mode", "filtered"),
            ("table.include.list", &table),
            ("decimal.handling.mode", "string"),
            ("heartbeat.interval.ms", "500"),
            // The broker makes no topic by itself; the heartbeats need one.
            ("topic.creation.default.replication.factor", "1"),
            ("topic.creation.default.partitions", "1"),
        ];
        Self::start(kafka, prefix, &properties)
    }

    pub fn pause(&self) {
        self.process.pause();
    }

    pub fn resume(&self) {
        self.process.resume();
    }

    pub fn log(&self) -> String {
        self.process.log()
    }
}
