//! Two tables, and a topic and a table, with differences: `scripts/bench drift`.
//!
//! Rows of six columns in two databases of one real PostgreSQL, and in a topic of a real Kafka. Whole processes, one after
//! the other; bytes are what went over loopback, both sides together; memory is that of the client.
//!
//! `SORDINI_BENCH_ROWS` (5,000,000) and `SORDINI_BENCH_DIFFERENCES` (0,1,11,1001,50000) change what is measured, nothing for none;
//! `SORDINI_BENCH_FOLDS` (3) is how often the topic is folded alone, without a comparison; of it the best counts.
//! `SORDINI_RELADIFF` names the program it is measured beside; pg_comparator is when its extension is there.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use postgres::{Client, NoTls};
use sordini::drift::measure::Folding;
use sordini::wire;
use sordini_lab::{Kafka, Options, Postgres, Record};

const SORDINI: &str = env!("CARGO_BIN_EXE_sordini");
const COLUMNS: &str =
    "id bigint PRIMARY KEY, cust int, amount numeric(12,2), status text, note text, updated_at timestamp(3)";
const PARTITIONS: i32 = 4;
const RELADIFF: &str = "reladiff";
/// Records that are folded in memory.
const IN_MEMORY: i64 = 1_000_000;

fn main() {
    let rows: i64 = setting("SORDINI_BENCH_ROWS", "5000000").parse().expect("a number of rows");
    let differences = setting("SORDINI_BENCH_DIFFERENCES", "0,1,11,1001,50000");
    let postgres = Postgres::start(&["shared_buffers=1GB", "max_wal_size=4GB", "synchronous_commit=off"]);
    let kafka = Kafka::start(Options::default());
    for side in ["a", "b"] {
        let mut client = postgres.database(side);
        fill(&mut client, rows);
        // Only where it is installed.
        drop(client.batch_execute("CREATE EXTENSION pgcmp"));
    }
    produce(&kafka, rows);
    let folding = Folding::new(&topic_url(&kafka), &table_url(&postgres, "a"), 128 << 20).expect("a topic and a table");
    println!(
        "{rows} rows of six columns in each of two databases of one PostgreSQL, and in a topic of {PARTITIONS} partitions."
    );
    fold(&folding, rows);
    println!(
        "\n| differences | tool | found | seconds | × reladiff | server CPU s | MB over the wire | peak RSS MB |\n\
         |---:|---|---:|---:|---:|---:|---:|---:|"
    );
    let mut changed = 0;
    let differences = differences.split(',').map(str::trim).filter(|text| !text.is_empty());
    for wanted in differences.map(|text| text.parse::<i64>().expect("a number")) {
        change(&postgres.url("b"), rows, wanted, changed);
        changed = changed.max(wanted);
        let tools = tools(&postgres, &kafka);
        let measured: Vec<Measured> = tools.iter().map(|tool| measure(&tool.1, &postgres)).collect();
        let reladiff = tools.iter().position(|tool| tool.0 == RELADIFF).map(|at| measured[at].seconds);
        for (tool, measured) in tools.iter().zip(&measured) {
            let ratio = reladiff.map_or("–".to_owned(), |seconds| format!("{:.2}", measured.seconds / seconds));
            println!(
                "| {wanted} | {} | {} | {:.2} | {ratio} | {:.2} | {:.2} | {} |",
                tool.0, measured.found, measured.seconds, measured.server, measured.megabytes, measured.memory
            );
        }
    }
}

fn setting(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn fill(client: &mut Client, rows: i64) {
    client.batch_execute(&format!("CREATE TABLE big ({COLUMNS})")).expect("a table");
    let insert = format!(
        "INSERT INTO big SELECT i, (i * 7919) % 100000, (i * 31 % 10000000) / 100.0, \
         (ARRAY['new','paid','sent','returned'])[1 + (i % 4)::int], CASE WHEN i % 5 > 0 THEN 'note number ' || md5(i::text) END, \
         timestamp '2024-01-01' + i * interval '37 milliseconds' FROM generate_series(1::bigint, {rows}) i"
    );
    client.batch_execute(&insert).expect("rows");
    client.batch_execute("VACUUM (ANALYZE) big").expect("statistics");
}

/// The same rows as records, as the database prints them.
fn produce(kafka: &Kafka, rows: i64) {
    kafka.create_topic("big", PARTITIONS, &[]);
    let producer = kafka.producer(&[("queue.buffering.max.messages", "500000"), ("compression.type", "none")]);
    const NOTES: usize = 100_000;
    for from in (1..=rows).step_by(NOTES) {
        for i in from..(from + NOTES as i64).min(rows + 1) {
            let partition = (i % i64::from(PARTITIONS)) as i32;
            producer.send(&Record::new("big", partition).key(i.to_string()).value(value(i)));
        }
        producer.flush();
    }
    let ends: Vec<(&str, i32, i64)> =
        (0..PARTITIONS).map(|partition| ("big", partition, kafka.watermarks("big", partition).1)).collect();
    kafka.commit_offsets("sink", &ends);
}

fn value(i: i64) -> String {
    let cents = i * 31 % 10_000_000;
    let note = match i % 5 {
        0 => "null".to_owned(),
        _ => format!("\"note number {}\"", md5(&i.to_string())),
    };
    let status = ["new", "paid", "sent", "returned"][(i % 4) as usize];
    format!(
        "{{\"id\":{i},\"cust\":{},\"amount\":{}.{:02},\"status\":\"{status}\",\"note\":{note},\"updated_at\":{}}}",
        i * 7_919 % 100_000,
        cents / 100,
        cents % 100,
        1_704_067_200_000 + i * 37
    )
}

/// The topic alone: from the broker to its folded state, and what of that is work on records that are in memory already.
fn fold(folding: &Folding, rows: i64) {
    let times: usize = setting("SORDINI_BENCH_FOLDS", "3").parse().expect("a number of folds");
    // Wall clock and processor time of the fastest one.
    let best = |fold: &dyn Fn() -> u64, expected: i64| {
        let taken = (0..times).map(|_| {
            let (began, cpu) = (Instant::now(), cpu_seconds());
            assert_eq!(fold(), expected as u64, "every record has a key of its own");
            (began.elapsed().as_secs_f64(), cpu_seconds() - cpu)
        });
        taken.min_by(|a, b| a.0.total_cmp(&b.0))
    };
    let shown = |what: &str, taken: Option<(f64, f64)>, records: i64| {
        if let Some((seconds, cpu)) = taken {
            let rate = records as f64 / seconds / 1e6;
            println!("{what}: {rate:.2} M records/s ({records} in {seconds:.2} s, {cpu:.2} s of processor time)");
        }
    };
    shown("The topic folded alone", best(&|| folding.topic().expect("a topic"), rows), rows);
    let some = rows.min(IN_MEMORY);
    let texts: Vec<(String, String)> = (1..=some).map(|i| (i.to_string(), value(i))).collect();
    let records: Vec<wire::Record<'_>> = texts.iter().zip(0..).map(|(text, offset)| in_memory(text, offset)).collect();
    let taken = best(&|| folding.records(&records).expect("records"), some);
    shown("Records in memory folded by one thread", taken, some);
}

/// Of this process, so far.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    // utime and stime, in hundredths.
    fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn in_memory((key, value): &(String, String), offset: i64) -> wire::Record<'_> {
    let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
    wire::Record { offset, timestamp: 0, key, value, headers: wire::Headers::empty() }
}

fn topic_url(kafka: &Kafka) -> String {
    format!("kafka://{}/big", kafka.bootstrap())
}

fn table_url(postgres: &Postgres, side: &str) -> String {
    format!("{}?table=big", postgres.url_as("audit", side))
}

fn md5(text: &str) -> String {
    use md5::Digest as _;
    md5::Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes rows of b differ, in an order that is the same for any number of them, until so many do.
fn change(url: &str, rows: i64, wanted: i64, changed: i64) {
    if wanted <= changed {
        return;
    }
    let mut client = Client::connect(url, NoTls).expect("the server takes connections");
    // The factor has no divisor in common with powers of ten: no row comes twice.
    let statement = "UPDATE big SET amount = amount + 1 WHERE id IN \
                     (SELECT 1 + (k * 2654435761) % $1 FROM generate_series($2::bigint, $3::bigint) k)";
    client.execute(statement, &[&rows, &changed, &(wanted - 1)]).expect("rows change");
    client.batch_execute("VACUUM (ANALYZE) big").expect("statistics");
}

fn tools(postgres: &Postgres, kafka: &Kafka) -> Vec<(&'static str, Vec<String>)> {
    let url = |side: &str| table_url(postgres, side);
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let own = |first: &str, second: &str, more: &[&str]| {
        let mut all =
            words(&[SORDINI, "drift", "--format", "json", "--settle", "0s", "--max-findings", "100000", first, second]);
        all.extend(words(more));
        all
    };
    let topic = topic_url(kafka);
    let mut tools = vec![
        ("sordini, table and table", own(&url("a"), &url("b"), &[])),
        ("sordini, topic and table", own(&topic, &url("b"), &["--group", "sink"])),
    ];
    if let Ok(reladiff) = env::var("SORDINI_RELADIFF") {
        let (a, b) = (postgres.url("a"), postgres.url("b"));
        let (a, b) = (a.replacen("postgres://", "postgresql://", 1), b.replacen("postgres://", "postgresql://", 1));
        let mut all = words(&[&reladiff, &a, "big", &b, "big", "-k", "id", "-a", "hashdiff", "-j", "2", "--json"]);
        for column in ["cust", "amount", "status", "note", "updated_at"] {
            all.extend(words(&["-c", column]));
        }
        tools.push((RELADIFF, all));
    }
    if Command::new("pg_comparator").arg("--version").output().is_ok() {
        let side = |side: &str| {
            let place = postgres.url(side).replacen("postgres://", "pgsql://", 1);
            format!("{place}/big?id:cust,amount,status,note,updated_at")
        };
        tools.push(("pg_comparator", words(&["pg_comparator", "--pg-text-cast", &side("a"), &side("b")])));
    }
    let copy =
        |side: &str| format!("psql -qAt '{}' -c 'COPY big TO STDOUT (FORMAT binary)' >/dev/null", postgres.url(side));
    tools.push(("COPY of both tables", words(&["sh", "-c", &format!("{}; {}", copy("a"), copy("b"))])));
    tools
}

struct Measured {
    found: String,
    seconds: f64,
    server: f64,
    megabytes: f64,
    memory: u64,
}

fn measure(command: &[String], postgres: &Postgres) -> Measured {
    let (before, server, began) = (loopback(), postgres.cpu_seconds(), Instant::now());
    let output = Command::new("/usr/bin/time")
        .args(["-f", "rss %M"])
        .args(command)
        .stdin(Stdio::null())
        .output()
        .expect("/usr/bin/time is installed");
    let seconds = began.elapsed().as_secs_f64();
    // A backend ends a moment after its client.
    std::thread::sleep(Duration::from_millis(500));
    let server = postgres.cpu_seconds() - server;
    let megabytes = (loopback() - before) as f64 / 1e6;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let memory = errors.lines().rev().find_map(|line| line.strip_prefix("rss ")?.trim().parse::<u64>().ok());
    let text = String::from_utf8_lossy(&output.stdout);
    let own =
        text.lines().filter(|line| line.starts_with("{\"type\":\"finding\"") && line.contains("\"key\":{")).count();
    let theirs = text.lines().filter(|line| line.starts_with("[\"-\"") || line.starts_with("[\"+\"")).count();
    let third = ["UPDATE ", "INSERT ", "DELETE "];
    let third = text.lines().filter(|line| third.iter().any(|word| line.starts_with(word))).count();
    let found = match (own, theirs) {
        (0, 0) if text.contains("\"verdict\":\"unverified\"") || text.is_empty() && own == 0 => "–".to_owned(),
        (0, 0) => third.to_string(),
        (0, lines) => (lines / 2).to_string(),
        (own, _) => own.to_string(),
    };
    Measured { found, seconds, server, megabytes, memory: memory.unwrap_or(0) / 1_024 }
}

/// Bytes received on loopback so far.
fn loopback() -> u64 {
    let text = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("lo:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
