//! A healthy world gives no finding, and a coverage that adds up to its last offset.

use sordini_lab::broker::Listener;
use sordini_lab::client::COMPACTED;
use sordini_lab::{ClientAuth, Kafka, Options, Record, shared};

use crate::common::*;

#[test]
fn a_healthy_world_gives_no_finding() {
    let kafka = shared();
    let bootstrap = kafka.bootstrap();
    let check = |topic: &str, more: &[&str]| {
        let audited = audit(&[&["-b", &bootstrap, "-t", topic, "--id", "header:event-id"], more].concat());
        assert_clean(&audited, topic);
        let (_, high_watermark) = kafka.watermarks(topic, 0);
        assert_eq!(audited.coverage[0]["until"], high_watermark, "{topic}");
        let default = audit(&[&["-b", &bootstrap, "-t", topic], more].concat());
        assert_clean(&default, topic);
        audited
    };

    kafka.create_topic("healthy-codecs", 1, &[]);
    for (round, codec) in ["none", "gzip", "snappy", "lz4", "zstd"].iter().enumerate() {
        kafka.producer(&[("compression.type", codec), ("enable.idempotence", "true")]).send_all(&orders(
            "healthy-codecs",
            round * 100,
            100,
        ));
    }
    assert_eq!(check("healthy-codecs", &[]).summary["figures"]["records"], 500);

    kafka.create_topic("healthy-append-time", 1, &[("message.timestamp.type", "LogAppendTime")]);
    kafka.producer(&[]).send_all(&orders("healthy-append-time", 0, 100));
    check("healthy-append-time", &[]);

    kafka.create_topic("healthy-transactions", 1, &[]);
    let producer = kafka.producer(&[("transactional.id", "healthy")]);
    for round in 0..10 {
        producer.begin();
        producer.send_all(&orders("healthy-transactions", round * 20, 20));
        if round % 3 == 0 {
            producer.abort();
            producer.begin();
            producer.send_all(&orders("healthy-transactions", round * 20, 20));
        }
        producer.commit();
    }
    let audited = check("healthy-transactions", &[]);
    assert_eq!((holes(&audited, "aborted"), holes(&audited, "control")), (80, 14));

    kafka.create_topic("healthy-trimmed", 1, &[]);
    kafka.producer(&[("enable.idempotence", "true")]).send_all(&orders("healthy-trimmed", 0, 300));
    kafka.delete_records("healthy-trimmed", 0, 123);
    let audited = check("healthy-trimmed", &["--offset", "0"]);
    assert_eq!((holes(&audited, "expired"), audited.summary["figures"]["records"].as_u64()), (123, Some(177)));

    kafka.create_topic("healthy-recreated", 1, &[]);
    kafka.producer(&[]).send_all(&orders("healthy-recreated", 0, 50));
    kafka.delete_topic("healthy-recreated");
    kafka.create_topic("healthy-recreated", 1, &[]);
    kafka.producer(&[]).send_all(&orders("healthy-recreated", 0, 20));
    check("healthy-recreated", &[]);
}

#[test]
fn what_the_cleaner_removes_is_explained() {
    let kafka = shared();
    kafka.create_topic("healthy-compacted", 1, COMPACTED);
    let producer = kafka.producer(&[("enable.idempotence", "true")]);
    for round in 0..5 {
        producer.send_all(&orders("healthy-compacted", round * 100, 100));
    }
    let tombstones: Vec<Record> = (0..10).map(|n| Record::new("healthy-compacted", 0).key(format!("k{n}"))).collect();
    producer.send_all(&tombstones);
    kafka.compact("healthy-compacted", 0);
    let audited = audit(&["-b", &kafka.bootstrap(), "-t", "healthy-compacted"]);
    assert_clean(&audited, "compacted");
    assert!(holes(&audited, "compacted") > 300, "{:?}", audited.coverage);
}

#[test]
fn listeners_with_tls_and_passwords_are_read() {
    let kafka = Kafka::start(Options::secure());
    kafka.create_topic("secure", 1, &[]);
    kafka.producer(&[]).send_all(&orders("secure", 0, 100));
    let ca = kafka.certificates().ca.display().to_string();
    let (ca, address) = (format!("ssl.ca.location={ca}"), kafka.address(Listener::SaslSsl));
    let (user, password) = sordini_lab::broker::USER;
    let (name, right) = (format!("sasl.username={user}"), format!("sasl.password={password}"));
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let mechanism = format!("sasl.mechanism={mechanism}");
        let base = [
            "-b",
            &address,
            "-t",
            "secure",
            "-X",
            "security.protocol=SASL_SSL",
            "-X",
            &mechanism,
            "-X",
            &name,
            "-X",
            &ca,
        ];
        assert_clean(&audit(&[&base[..], &["-X", &right]].concat()), &mechanism);
        refused(&[&base[..], &["-X", "sasl.password=wrong"]].concat(), "sasl.password");
    }
    refused(&["-b", &address, "-t", "secure"], "security.protocol");
}

#[test]
fn a_client_certificate_and_a_token_open_the_door() {
    let kafka = Kafka::start(Options { client_auth: ClientAuth::Required, ..Options::secure() });
    kafka.create_topic("secure", 1, &[]);
    kafka.producer(&[]).send_all(&orders("secure", 0, 100));
    let certificates = kafka.certificates();
    let ca = format!("ssl.ca.location={}", certificates.ca.display());

    let (by_tls, certificate, key) = (
        kafka.address(Listener::Ssl),
        format!("ssl.certificate.location={}", certificates.client_certificate.display()),
        format!("ssl.key.location={}", certificates.client_key.display()),
    );
    let tls = ["-b", &by_tls, "-t", "secure", "-X", "security.protocol=SSL", "-X", &ca];
    assert_clean(&audit(&[&tls[..], &["-X", &certificate, "-X", &key]].concat()), "client certificate");
    refused(&tls, "ssl.certificate.location");

    // What a broker without a verifier takes: a JSON web token without a signature.
    let part = r#"part() { printf '%s' "$1" | base64 -w0 | tr '+/' '-_' | tr -d '='; }"#;
    let token = |subject: &str| {
        let claims = format!(r#"{{\"sub\":\"{subject}\",\"iat\":$(date +%s),\"exp\":$(($(date +%s) + 600))}}"#);
        format!(r#"sordini.oauth.token.command={part}; echo "$(part '{{"alg":"none"}}').$(part "{claims}").""#)
    };
    let by_sasl = kafka.address(Listener::SaslPlaintext);
    let sasl = ["-b", &by_sasl, "-t", "secure", "-X", "security.protocol=SASL_PLAINTEXT"];
    let bearer = |token: &str| {
        let all = [&sasl[..], &["-X", "sasl.mechanism=OAUTHBEARER", "-X", token]].concat();
        all.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let (right, broken) = (bearer(&token("alice")), bearer("sordini.oauth.token=not-a-token"));
    assert_clean(&audit(&right.iter().map(String::as_str).collect::<Vec<_>>()), "OAUTHBEARER");
    refused(&broken.iter().map(String::as_str).collect::<Vec<_>>(), "token");
}
