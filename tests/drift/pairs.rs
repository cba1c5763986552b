//! Several pairs of one file: one report, and the exit code of the worst.

use std::process::Command;

use serde_json::Value;

use crate::common::Pair;

fn file(pair: &Pair, seconds: &[(&str, String)]) -> tempfile::NamedTempFile {
    let bootstrap = pair.kafka.bootstrap();
    let mut text = format!("version = 1\n[kafka]\n\"bootstrap.servers\" = \"{bootstrap}\"\n");
    for (name, second) in seconds {
        text += &format!(
            "[[drift]]\nname = \"{name}\"\nfirst = \"kafka:///{}\"\nsecond = \"{second}\"\ngroup = \"{}\"\nsettle = \"100ms\"\n",
            pair.name,
            pair.group()
        );
    }
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("a temporary file");
    file
}

fn run(file: &tempfile::NamedTempFile, more: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sordini"));
    let output = command.args(["drift", "-c"]).arg(file.path()).args(more).output().expect("sordini starts");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    (output.status.code().expect("sordini exits"), said + &String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_pair_that_cannot_be_compared_is_told_and_stops_no_other() {
    let pair = Pair::new("several", 1);
    let mut client = pair.two_rows();
    client.batch_execute("CREATE TABLE copy AS SELECT * FROM items; ALTER TABLE copy ADD PRIMARY KEY (id); UPDATE copy SET note = 'y' WHERE id = 2; GRANT SELECT ON copy TO audit").expect("rows");
    let table = |name: &str| format!("{}?table={name}", pair.postgres.url_as("audit", &pair.name));
    let pairs = [("lost", table("nothing")), ("good", table("items")), ("bad", table("copy"))];
    let file = file(&pair, &pairs);

    let (exit, said) = run(&file, &["--format", "json"]);
    assert_eq!(exit, 2, "{said}");
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect();
    let findings: Vec<&Value> = lines.iter().filter(|line| line["type"] == "finding").collect();
    assert_eq!(findings.len(), 1, "{said}");
    assert_eq!((&findings[0]["kind"], &findings[0]["evidence"]["pair"]), (&"differs".into(), &"bad".into()));
    let summary = lines.last().expect("a summary");
    assert_eq!((&summary["type"], &summary["verdict"]), (&"summary".into(), &"unverified".into()));
    let exits: Vec<_> = summary["pairs"].as_array().expect("pairs").iter().map(|p| (&p["pair"], &p["exit"])).collect();
    assert_eq!(exits, [(&"lost".into(), &2.into()), (&"good".into(), &0.into()), (&"bad".into(), &1.into())]);
    assert_eq!(summary["pairs"][2]["drift"]["pair"], "bad");
    assert_eq!(summary["unread"][0]["topic"], "lost");

    let (exit, said) = run(&file, &["--only", "good", "--only", "bad"]);
    assert_eq!(exit, 1, "{said}");
    let (good, bad) = (said.find("good: topic").expect("a pair"), said.find("bad: topic").expect("a pair"));
    assert!(good < said.find("CLEAN").expect("clean") + 200 && good < bad, "{said}");
    assert!(said.contains("bad: findings (exit 1), 0 missing, 0 extra, 1 different, 0 stale"), "{said}");
    assert_eq!(run(&file, &["--only", "good"]).0, 0);

    let (exit, said) = run(&file, &["--only", "good", "--only", "bad", "--format", "html"]);
    assert_eq!((exit, said.matches("<html").count()), (1, 1), "{said}");
    assert!(said.contains("<h2>Stores</h2>") && said.contains("<h3>bad</h3>"), "{said}");
    let (exit, said) = run(&file, &["--explain", "--only", "bad"]);
    assert!(exit == 0 && said.contains("claim: bracketed"), "{said}");
    let (exit, said) = run(&file, &["--only", "none"]);
    assert!(exit == 2 && said.contains("it has") | said.contains("has lost, good, bad"), "{said}");
}
