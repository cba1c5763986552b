//! Starting, stopping, reading the settings again, and what happens without a cluster.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;

use sordini_lab::{http, shared, wait_for};

use super::common::{Daemon, LIMIT, fill, name};

#[test]
fn it_commits_and_leaves_when_asked_and_goes_on_where_it_was() {
    let kafka = shared();
    let topic = name("lasting");
    kafka.create_topic(&topic, 1, &[]);
    fill(kafka, &topic, 200);
    let mut daemon = Daemon::start(&kafka.bootstrap(), &topic, "none", "");
    let records = |daemon: &Daemon| daemon.json(&format!("/api/v1/topics/{topic}"))["audits"][0]["records"].as_u64();
    wait_for("all records are audited", LIMIT, || records(&daemon).filter(|records| *records == 200));
    daemon.signal("-TERM");
    assert_eq!(daemon.ended(), Some(0), "{}", daemon.log());
    assert!(daemon.dir.path().join("state/groups").exists(), "the windows were kept");
    fill(kafka, &topic, 100);
    daemon.run();
    wait_for("it goes on behind what it had read", LIMIT, || records(&daemon).filter(|records| *records == 300));
}

#[test]
fn settings_are_read_again_and_wrong_ones_change_nothing() {
    let kafka = shared();
    let (first, second) = (name("first"), name("second"));
    for topic in [&first, &second] {
        kafka.create_topic(topic, 1, &[]);
        fill(kafka, topic, 10);
    }
    let daemon = Daemon::start(&kafka.bootstrap(), &first, "none", "");
    let is_audited = |topic: &str| {
        let (status, body) = http::get(&daemon.url(&format!("/api/v1/topics/{topic}"))).ok()?;
        let topic: serde_json::Value = (status == 200).then(|| serde_json::from_str(&body).unwrap())?;
        (topic["audits"][0]["records"].as_u64() == Some(10)).then_some(())
    };
    wait_for("the first topic is audited", LIMIT, || is_audited(&first));
    std::fs::write(daemon.config(), "version = 1\nnonsense = true\n").unwrap();
    daemon.signal("-HUP");
    wait_for("the mistake is said", LIMIT, || daemon.log().contains("going on with the old ones").then_some(()));
    assert!(is_audited(&first).is_some(), "it goes on");
    daemon.write(&kafka.bootstrap(), &format!("^({first}|{second})$"), "none", "");
    daemon.signal("-HUP");
    wait_for("the second topic is audited, too", LIMIT, || is_audited(&second));
}

/// The file of the repository, with the environment saying where things are.
#[test]
fn the_shipped_settings_work() {
    let kafka = shared();
    let topic = name("shipped");
    kafka.create_topic(&topic, 1, &[]);
    fill(kafka, &topic, 10);
    let dir = tempfile::tempdir().unwrap();
    let port = sordini_lab::free_port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sordini"));
    command
        .args(["watch", "-c", concat!(env!("CARGO_MANIFEST_DIR"), "/config/sordini.toml")])
        .env("SORDINI__STATE", dir.path())
        .env("SORDINI__KAFKA__BOOTSTRAP_SERVERS", kafka.bootstrap())
        .env("SORDINI__SERVE__LISTEN", format!("127.0.0.1:{port}"));
    let mut child = command.spawn().unwrap();
    wait_for("the page shows the topic", LIMIT, || {
        let (status, page) = http::get(&format!("http://127.0.0.1:{port}/topics/{topic}")).ok()?;
        (status == 200 && page.contains(&*topic)).then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn without_a_cluster_it_waits_and_says_so() {
    let port = sordini_lab::free_port();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("sordini.toml");
    let page = sordini_lab::free_port();
    let state = dir.path().join("state");
    let text = format!(
        "version = 1\nstate = {state:?}\n[kafka]\n\"bootstrap.servers\" = \"127.0.0.1:{port}\"\n[lag]\ninterval = \"500ms\"\n\
         [[alert.rule]]\nkind = \"unreachable\"\nfor = \"0s\"\n[serve]\nlisten = \"127.0.0.1:{page}\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_sordini")).args(["watch", "-c"]).arg(&config).spawn().unwrap();
    let url = |path: &str| format!("http://127.0.0.1:{page}{path}");
    wait_for("the incident is open", LIMIT, || {
        let (_, body) = http::get(&url("/api/v1/incidents")).ok()?;
        body.contains("unreachable").then_some(())
    });
    assert_eq!(http::get(&url("/livez")).unwrap().0, 200, "it is alive");
    assert_eq!(http::get(&url("/readyz")).unwrap().0, 503, "and not ready");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Whether the page answers somebody who trusts this certificate and no other.
fn answers(port: u16, certificate: &str) -> bool {
    let root = ureq::tls::Certificate::from_pem(certificate.as_bytes()).unwrap();
    let tls = ureq::tls::TlsConfig::builder()
        .root_certs(ureq::tls::RootCerts::new_with_certs(&[root]))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let agent = ureq::Agent::config_builder().tls_config(tls).timeout_global(Some(LIMIT)).build().new_agent();
    agent.get(format!("https://localhost:{port}/livez")).call().is_ok()
}

/// As a renewal does: the files are replaced, the settings are not. A certificate that cannot be used changes nothing.
#[test]
fn certificates_are_read_again_with_the_settings() {
    let (dir, port) = (tempfile::tempdir().unwrap(), sordini_lab::free_port());
    let [config, certificate, key, log] = ["sordini.toml", "tls.crt", "tls.key", "log"].map(|f| dir.path().join(f));
    let renew = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        made.cert.pem()
    };
    let (state, kafka) = (dir.path().join("state"), sordini_lab::free_port());
    let text = format!(
        "version = 1\nstate = {state:?}\n[kafka]\n\"bootstrap.servers\" = \"127.0.0.1:{kafka}\"\n\
         [serve]\nlisten = \"127.0.0.1:{port}\"\n[serve.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n"
    );
    fs::write(&config, text).unwrap();
    let first = renew();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sordini"));
    let errors = fs::File::create(&log).unwrap();
    let mut child =
        command.args(["-v", "watch", "-c"]).arg(&config).stdin(Stdio::null()).stderr(errors).spawn().unwrap();
    let read_again = || {
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    };
    wait_for("the page answers", LIMIT, || answers(port, &first).then_some(()));
    let second = renew();
    assert!(answers(port, &first), "nobody asked for the new one yet");
    read_again();
    wait_for("the page shows the new certificate", LIMIT, || answers(port, &second).then_some(()));
    assert!(!answers(port, &first), "and no longer the old one");
    fs::write(&certificate, "no certificate").unwrap();
    read_again();
    let said = || fs::read_to_string(&log).unwrap().contains("going on with the old ones");
    wait_for("the mistake is said", LIMIT, || said().then_some(()));
    assert!(answers(port, &second), "it goes on");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn settings_are_checked_without_being_used() {
    let check = |text: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sordini"));
        let output = command.arg("check-config").arg(file.path()).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let base = "version = 1\n[kafka]\n\"bootstrap.servers\" = \"k:9092\"\n";
    let (code, said) = check(&format!("{base}[[audit]]\nname = \"a\"\ntopics = [\"t\"]\nid = \"key\"\n"));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("audit a: t; identity key"), "{said}");
    for (more, wanted) in [
        ("[lag]\ninterval = \"often\"\n", ":5:12: "),
        ("[[alert.webhook]]\nname = \"w\"\nurl = \"http://x\"\ntemplate = \"{{ nothing }}\"\n", "template"),
        ("[[alert.rule]]\nroute = [\"nobody\"]\n", "nobody"),
        ("[serve]\nlisten = \"0.0.0.0:9318\"\n", "token"),
        ("[kafka2]\n", "kafka2"),
    ] {
        let (code, said) = check(&format!("{base}{more}"));
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}
