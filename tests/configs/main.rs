//! The files in `config/` and `docker/`: the tools they are for take them, every metric they name is one that sordini
//! serves (`docs/metrics.md`), and what they refer to is there.

mod promql;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde_json::Value;
use sordini_lab::{Prometheus, install, root, yaml};

/// What Prometheus makes itself.
const PROMETHEUS: &[(&str, &[&str])] = &[("up", &[]), ("ALERTS", &["alertname", "alertstate"])];
/// Labels that scraping puts on every series.
const SCRAPED: &[&str] = &["job", "instance"];

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Metrics and their labels, by the tables of `docs/metrics.md`.
fn metrics() -> BTreeMap<String, BTreeSet<String>> {
    let document = text("docs/metrics.md");
    let rows = document.lines().filter_map(|line| {
        let cells: Vec<_> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
        let name = cells.first()?.strip_prefix('`')?.strip_suffix('`')?;
        let labels = cells.get(3)?.split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).chain(SCRAPED.iter().map(|&label| label.to_owned()));
        Some((name.to_owned(), labels.collect()))
    });
    let own = PROMETHEUS.iter().map(|&(name, labels)| {
        (name.to_owned(), labels.iter().chain(SCRAPED).map(|&label| label.to_owned()).collect::<BTreeSet<_>>())
    });
    let all: BTreeMap<_, _> = rows.chain(own).collect();
    assert!(all.len() > 50, "docs/metrics.md has lost its tables: {:?}", all.keys());
    all
}

/// Panics with `place` when the expression names a metric or a label that does not exist.
fn check(place: &str, expression: &str, metrics: &BTreeMap<String, BTreeSet<String>>) {
    let used = promql::names(expression);
    assert!(!used.metrics.is_empty(), "{place}: no metric in {expression}");
    for (metric, labels) in &used.metrics {
        let known = metrics.get(metric).unwrap_or_else(|| panic!("{place}: no metric {metric}, in {expression}"));
        let unknown: Vec<_> = labels.difference(known).collect();
        assert!(unknown.is_empty(), "{place}: {metric} has no labels {unknown:?}, in {expression}");
    }
    let any: BTreeSet<_> = used.metrics.iter().flat_map(|(metric, _)| &metrics[metric]).collect();
    let unknown: Vec<_> = used.grouped_by.iter().filter(|label| !any.contains(label)).collect();
    assert!(unknown.is_empty(), "{place}: no metric here has the labels {unknown:?}, in {expression}");
}

fn run(program: &str, args: &[&str]) -> String {
    install();
    let output = Command::new(program).args(args).current_dir(root()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {}\n{text}", output.status);
    text
}

#[test]
fn prometheus_takes_its_configuration_and_the_rules() {
    run("promtool", &["check", "config", "config/prometheus/prometheus.yml"]);
    let said = run("promtool", &["check", "rules", "config/prometheus/sordini.rules.yml"]);
    assert!(said.contains("29 rules found"), "{said}");
    // The compose file mounts the token where its configuration looks for it.
    let docker = root().join("docker/prometheus.yml").display().to_string();
    run("promtool", &["check", "config", "--syntax-only", &docker]);
}

#[test]
fn the_rules_fire_when_they_should_and_only_then() {
    run("promtool", &["test", "rules", "tests/configs/rules.test.yml"]);
}

#[test]
fn the_rules_name_metrics_that_are_served_and_say_what_to_do() {
    let (metrics, rules) = (metrics(), yaml::parse(&text("config/prometheus/sordini.rules.yml")));
    for rule in list(&rules["groups"]).iter().flat_map(|group| list(&group["rules"])) {
        let name = string(&rule["alert"]);
        check(name, string(&rule["expr"]), &metrics);
        assert_eq!(rule["labels"]["source"], "metrics", "{name}: config/alertmanager knows rules by it");
        let severity = rule["labels"]["severity"].as_str();
        assert!(severity.is_some() || name == "SordiniIncidentsUnanswered", "{name} has no severity");
        for annotation in ["summary", "command"] {
            let said = rule["annotations"][annotation].as_str();
            assert!(said.is_some() || name == "SordiniIncidentsUnanswered", "{name} has no {annotation}");
        }
    }
}

#[test]
fn alertmanager_takes_its_configuration_and_routes_by_severity() {
    let config = "config/alertmanager/alertmanager.yml";
    run("amtool", &["check-config", config]);
    for (receiver, labels) in [
        ("pager", &["alertname=SordiniLagStop", "severity=critical", "group=g"][..]),
        ("chat", &["alertname=SordiniDuplicate", "severity=warning", "topic=t"]),
        ("nobody", &["alertname=SordiniTimestampRegression", "severity=info", "topic=t"]),
        ("dead-mans-switch", &["alertname=SordiniHeartbeat", "severity=none"]),
    ] {
        let args = ["config", "routes", "test", "--config.file", config, "--verify.receivers", receiver];
        run("amtool", &[&args[..], labels].concat());
    }
}

#[test]
fn the_dashboards_ask_for_what_is_served() {
    let metrics = metrics();
    let prometheus = Prometheus::start("global: {}\n");
    let mut uids = BTreeSet::new();
    for name in ["overview", "groups", "topics"] {
        let file = format!("config/grafana/{name}.json");
        let board: Value = serde_json::from_str(&text(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(uids.insert(string(&board["uid"]).to_owned()), "{file}: a uid for two");
        let variables: Vec<_> =
            list(&board["templating"]["list"]).iter().map(|variable| string(&variable["name"]).to_owned()).collect();
        for variable in list(&board["templating"]["list"]) {
            if let Some(query) = variable["query"]["query"].as_str() {
                let (selector, label) = promql::of_label_values(query);
                check(&file, &format!("max by ({label}) ({selector})"), &metrics);
            }
        }
        let mut ids = BTreeSet::new();
        for panel in list(&board["panels"]) {
            let place = format!("{file}: {}", string(&panel["title"]));
            assert!(ids.insert(panel["id"].as_u64().expect("a panel has an id")), "{place}: an id for two");
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expression = string(&target["expr"]);
                let plain = promql::without_variables(expression, &variables);
                let plain = plain.unwrap_or_else(|name| panic!("{place}: no variable ${name}, in {expression}"));
                check(&place, &plain, &metrics);
                prometheus.query(&plain); // panics when it is no PromQL
            }
        }
        assert!(ids.len() > 10, "{file} has only {} panels", ids.len());
    }
}

#[test]
fn the_systemd_unit_is_sound_and_closed() {
    let unit = text("config/systemd/sordini.service");
    for line in [
        "Type=notify",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "StateDirectory=sordini",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "MemoryDenyWriteExecute=yes",
        "SystemCallFilter=@system-service",
    ] {
        assert!(unit.lines().any(|l| l == line), "no {line}");
    }
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("systemd-analyze is not there: the unit was only read");
        return;
    }
    // As it would be installed, but for what is not there.
    let here = unit.replace("/usr/local/bin/sordini", env!("CARGO_BIN_EXE_sordini"));
    let here: String = here.lines().filter(|l| !l.starts_with("Documentation=")).map(|l| format!("{l}\n")).collect();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("sordini.service");
    fs::write(&path, here).expect("a temporary file");
    let path = path.display().to_string();
    run("systemd-analyze", &["verify", &path]);
    // From 100 (open) to 0, in tenths: 1.5 and no more.
    run("systemd-analyze", &["security", "--no-pager", "--offline=true", "--threshold=15", &path]);
}

#[test]
fn the_compose_file_refers_to_what_is_there() {
    let compose = yaml::parse(&text("docker/compose.yaml"));
    let services = compose["services"].as_object().expect("services");
    for wanted in ["kafka", "prometheus", "alertmanager", "grafana", "sordini"] {
        assert!(services.contains_key(wanted), "no {wanted}");
    }
    let named = |part: &str, name: &str| compose[part].get(name).is_some();
    for (name, service) in services {
        match &service["depends_on"] {
            Value::Array(others) => others.iter().for_each(|o| assert!(named("services", string(o)), "{name}: {o}")),
            Value::Object(others) => others.keys().for_each(|o| assert!(named("services", o), "{name}: {o}")),
            _ => {}
        }
        for config in service["configs"].as_array().into_iter().flatten() {
            assert!(named("configs", string(&config["source"])), "{name}: {config}");
        }
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = string(volume).split(':').next().expect("a volume has a source");
            let found = if source.starts_with('.') { docker(source).exists() } else { named("volumes", source) };
            assert!(found, "{name}: {source} is not there");
        }
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(string(port).starts_with("127.0.0.1:"), "{name}: {port} is open to everybody");
        }
    }
    for (name, config) in compose["configs"].as_object().expect("configs") {
        if let Some(file) = config["file"].as_str() {
            assert!(docker(file).exists(), "{name}: {file} is not there");
        }
    }
    for file in ["docker/grafana/datasource.yaml", "docker/grafana/dashboards.yaml"] {
        assert_eq!(yaml::parse(&text(file))["apiVersion"], 1, "{file}");
    }
}

fn docker(path: &str) -> PathBuf {
    root().join("docker").join(Path::new(path))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}
