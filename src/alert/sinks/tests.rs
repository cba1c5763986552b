//! Each sink by itself: what it sends, and how it reads the answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver as Mailbox, Sender, channel};

use super::*;
use crate::alert::message::samples;
use crate::alert::testing::Receiver;

const NOW_MS: i64 = 1_790_000_200_000;

fn place() -> Place {
    Place {
        cluster: "prod".to_owned(),
        instance: "sordini-1".to_owned(),
        external_url: "https://sordini.example.org/".to_owned(),
    }
}

fn sink(config: &str) -> Box<dyn Sink> {
    let file: AlertFile = toml::from_str(config).unwrap();
    build(&file, &place()).unwrap().remove(0).sink
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn alertmanager_gets_labels_annotations_and_an_end() {
    let (receiver, dir) = (Receiver::new(), tempfile::tempdir().unwrap());
    let password = dir.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    let sink = sink(&format!(
        "[[alertmanager]]\nname = \"ops\"\nurl = \"{}\"\nusername = \"me\"\npassword-file = \"{}\"\nlabels = {{ team = \"pay\" }}",
        receiver.url("/am/"),
        password.display()
    ));
    for batch in samples() {
        sink.send(&batch, NOW_MS).unwrap();
    }
    let requests = receiver.requests();
    assert_eq!((requests[0].method.as_str(), requests[0].path.as_str()), ("POST", "/am/api/v2/alerts"));
    assert_eq!(requests[0].headers["authorization"], "Basic bWU6c2VjcmV0");
    let alert = &json(&requests[0].body)[0];
    let labels = &alert["labels"];
    assert_eq!((labels["alertname"].as_str(), labels["severity"].as_str()), (Some("SordiniLagStop"), Some("critical")));
    assert_eq!((labels["partition"].as_str(), labels["team"].as_str()), (Some("3"), Some("pay")));
    assert_eq!((labels["cluster"].as_str(), labels["instance"].as_str()), (Some("prod"), Some("sordini-1")));
    assert_eq!(alert["annotations"]["runbook_url"], "https://example.org/runbook");
    assert_eq!(alert["annotations"]["command"], "sordini lag -b kafka:9092 -g billing");
    assert_eq!(alert["generatorURL"], "https://sordini.example.org/incidents/0123456789abcdef");
    assert_eq!(
        (alert["startsAt"].as_str(), alert["endsAt"].as_str()),
        (Some("2026-09-21T14:15:20.000Z"), Some("2026-09-21T14:20:40.000Z"))
    );
    assert_eq!(json(&requests[1].body)[0]["labels"].get("topic"), None);
    assert_eq!(json(&requests[2].body)[0]["endsAt"], "2026-09-21T14:21:40.000Z");
    assert_eq!(json(&requests[3].body).as_array().unwrap().len(), 12);
    sink.beat(NOW_MS).unwrap();
    assert_eq!(json(&receiver.requests()[4].body)[0]["labels"]["alertname"], "SordiniHeartbeat");
}

#[test]
fn a_webhook_is_signed_and_carries_its_key() {
    let (receiver, dir) = (Receiver::new(), tempfile::tempdir().unwrap());
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "s3cret").unwrap();
    let sink = sink(&format!(
        "[[webhook]]\nname = \"hook\"\nurl = \"{}\"\nmethod = \"PUT\"\nsecret-file = \"{}\"\nheaders = {{ X-Team = \"pay\" }}\n\
         template = '''{{\"text\": {{{{ summary }}}}, \"first\": {{{{ incidents[0].topic }}}}}}'''",
        receiver.url("/hook?x=1"),
        secret.display()
    ));
    sink.send(&samples()[0], NOW_MS).unwrap();
    sink.send(&samples()[1], NOW_MS).unwrap();
    let requests = receiver.requests();
    let request = &requests[0];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("PUT", "/hook?x=1"));
    assert_eq!(request.headers["idempotency-key"], "0123456789abcdef-1");
    assert_eq!(request.headers["x-team"], "pay");
    let timestamp = &request.headers["x-sordini-timestamp"];
    assert_eq!(timestamp, "1790000200");
    let signed = format!("{timestamp}.{}", request.body);
    let mac = http::hmac_hex(b"s3cret", &[signed.as_bytes()]).unwrap();
    assert_eq!(request.headers["x-sordini-signature"], format!("sha256={mac}"));
    assert!(json(&request.body)["text"].as_str().unwrap().contains("<b>&amp;"), "{}", request.body);
    assert_eq!(json(&requests[1].body)["first"], serde_json::Value::Null);
}

#[test]
fn slack_shows_the_first_few_and_escapes() {
    let receiver = Receiver::new();
    let sink = sink(&format!("[[slack]]\nname = \"s\"\nurl = \"{}\"\nchannel = \"#ops\"", receiver.url("/services/x")));
    for batch in samples() {
        sink.send(&batch, NOW_MS).unwrap();
    }
    let bodies: Vec<_> = receiver.requests().iter().map(|request| json(&request.body)).collect();
    assert_eq!(
        (bodies[0]["channel"].as_str(), bodies[0]["attachments"][0]["color"].as_str()),
        (Some("#ops"), Some("danger"))
    );
    let text = bodies[0]["attachments"][0]["text"].as_str().unwrap();
    assert!(text.contains("&lt;b&gt;") && text.contains("`sordini lag -b kafka:9092 -g billing`"), "{text}");
    assert_eq!(bodies[2]["attachments"][0]["color"], "good");
    assert_eq!(bodies[3]["attachments"].as_array().unwrap().len(), 11);
    assert_eq!(bodies[3]["attachments"][10]["text"], "and 2 more");
    assert!(
        bodies[3]["text"].as_str().unwrap().starts_with("[critical] 12 incidents (6 got worse, 6 resolved): lag-stop")
    );
}

fn outcome(status: u16, headers: Vec<(&'static str, String)>) -> Failure {
    let receiver = Receiver::answering(move |_, _| (status, headers.clone()));
    let sink = sink(&format!("[[webhook]]\nname = \"hook\"\nurl = \"{}\"", receiver.url("/")));
    sink.send(&samples()[0], NOW_MS).unwrap_err()
}

#[test]
fn answers_are_sorted_into_later_and_never() {
    for status in [400, 401, 404, 410, 422, 302] {
        assert!(matches!(outcome(status, vec![("location", "/else".to_owned())]), Failure::Never { .. }), "{status}");
    }
    for (status, expected) in [(408, false), (500, false), (429, true), (503, true)] {
        assert!(
            matches!(outcome(status, vec![]), Failure::Later { is_sink_wide, .. } if is_sink_wide == expected),
            "{status}"
        );
    }
    let asked = outcome(429, vec![("Retry-After", "17".to_owned())]);
    assert!(matches!(asked, Failure::Later { after: Some(after), .. } if after == Duration::from_secs(17)));
    let nobody = sink("[[webhook]]\nname = \"hook\"\nurl = \"http://127.0.0.1:1/secret\"");
    let Failure::Later { why, is_sink_wide: true, .. } = nobody.send(&samples()[0], NOW_MS).unwrap_err() else {
        panic!()
    };
    assert!(!why.contains("secret"), "{why}");
}

#[test]
fn a_receiver_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let sink = sink(&format!("[[webhook]]\nname = \"hook\"\nurl = \"{url}\"\ntimeout = \"200ms\""));
    assert!(matches!(sink.send(&samples()[0], NOW_MS), Err(Failure::Later { is_sink_wide: true, .. })));
}

/// Takes letters; answers the recipient with `reply`.
fn smtp(reply: &'static str) -> (u16, Mailbox<String>) {
    let (sender, letters) = channel();
    (listen(move |stream| take_letter(stream, reply, &sender)), letters)
}

/// Serves one connection after the other.
fn listen(serve: impl Fn(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().for_each(|stream| serve(stream.unwrap())));
    port
}

fn take_letter(stream: impl Read + Write, reply: &str, letters: &Sender<String>) {
    let mut stream = BufReader::new(stream);
    let mut say = "220 test".to_owned();
    loop {
        stream.get_mut().write_all(format!("{say}\r\n").as_bytes()).unwrap();
        let line = line(&mut stream);
        say = match line.split([' ', ':']).next().unwrap() {
            "" | "QUIT" => return,
            "EHLO" => "250-test\r\n250 AUTH PLAIN".to_owned(),
            "RCPT" => reply.to_owned(),
            "AUTH" => if line == "AUTH PLAIN AG1lAHNlY3JldA==" { "235 fine" } else { "535 no" }.to_owned(),
            "DATA" => {
                stream.get_mut().write_all(b"354 go on\r\n").unwrap();
                let letter = std::iter::repeat_with(|| self::line(&mut stream)).take_while(|line| line != ".");
                letters.send(letter.collect::<Vec<_>>().join("\n")).unwrap();
                "250 taken".to_owned()
            }
            _ => "250 fine".to_owned(),
        };
    }
}

/// Empty at the end.
fn line(stream: &mut impl BufRead) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap_or_default();
    line.trim_end().to_owned()
}

/// A server's side of TLS, and the file with the authority to trust.
fn tls(dir: &Path) -> (Arc<rustls::ServerConfig>, PathBuf) {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let ca = dir.join("ca.pem");
    std::fs::write(&ca, signed.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    (Arc::new(config), ca)
}

fn secured(stream: TcpStream, config: &Arc<rustls::ServerConfig>) -> impl Read + Write {
    rustls::StreamOwned::new(rustls::ServerConnection::new(config.clone()).unwrap(), stream)
}

#[test]
fn https_trusts_the_authority_that_is_named_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (config, ca) = tls(dir.path());
    let port = listen(move |stream| {
        let mut stream = BufReader::new(secured(stream, &config));
        while !line(&mut stream).is_empty() {}
        // One that does not trust it has gone.
        drop(stream.get_mut().write_all(b"HTTP/1.1 204 X\r\n\r\n"));
    });
    let hook = |more: &str| sink(&format!("[[webhook]]\nname = \"h\"\nurl = \"https://localhost:{port}/\"\n{more}"));
    hook(&format!("ca-file = \"{}\"", ca.display())).send(&samples()[0], NOW_MS).unwrap();
    let stranger = hook("").send(&samples()[0], NOW_MS);
    assert!(matches!(&stranger, Err(Failure::Later { why, .. }) if why.contains("certificate")), "{stranger:?}");
}

#[test]
fn a_password_goes_through_tls_only() {
    let dir = tempfile::tempdir().unwrap();
    let (config, ca) = tls(dir.path());
    let password = dir.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    let (sender, letters) = channel();
    let port = listen(move |stream| take_letter(secured(stream, &config), "250 fine", &sender));
    let config = |tls: &str| {
        format!(
            "[[email]]\nname = \"mail\"\nhost = \"localhost\"\nport = {port}\ntls = \"{tls}\"\nusername = \"me\"\n\
             password-file = \"{}\"\nca-file = \"{}\"\nfrom = \"a@example.org\"\nto = \"b@example.org\"\ntimeout = \"5s\"",
            password.display(),
            ca.display()
        )
    };
    sink(&config("tls")).send(&samples()[0], NOW_MS).unwrap();
    assert!(letters.recv().unwrap().contains("Subject: [critical] lag-stop"));
    let plain = build(&toml::from_str(&config("none")).unwrap(), &place());
    assert!(plain.err().unwrap().to_string().contains("not sent without tls"));
}

fn email(port: u16) -> Box<dyn Sink> {
    sink(&format!(
        "[[email]]\nname = \"mail\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n\
         from = \"Sordini <sordini@example.org>\"\nto = [\"ops@example.org\", \"dev@example.org\"]\ntimeout = \"2s\""
    ))
}

#[test]
fn a_letter_has_an_id_of_its_own_and_a_thread() {
    let (port, letters) = smtp("250 fine");
    let sink = email(port);
    let mut ended = samples()[2].clone();
    ended.id = "0123456789abcdef-2".to_owned();
    sink.send(&samples()[0], NOW_MS).unwrap();
    sink.send(&ended, NOW_MS).unwrap();
    let (opened, ended) = (letters.recv().unwrap(), letters.recv().unwrap());
    assert!(opened.contains("Message-ID: <0123456789abcdef-1@example.org>"), "{opened}");
    assert!(!opened.contains("In-Reply-To"), "{opened}");
    assert!(opened.contains("To: ops@example.org, dev@example.org"), "{opened}");
    assert!(ended.contains("Message-ID: <0123456789abcdef-2@example.org>"), "{ended}");
    assert!(ended.contains("In-Reply-To: <0123456789abcdef-1@example.org>"), "{ended}");
}

#[test]
fn smtp_answers_are_sorted_too() {
    let refused = email(smtp("550 nobody here").0).send(&samples()[0], NOW_MS);
    assert!(matches!(&refused, Err(Failure::Never { why }) if why.contains("nobody here")), "{refused:?}");
    let later = email(smtp("451 try later").0).send(&samples()[0], NOW_MS);
    assert!(matches!(&later, Err(Failure::Later { .. })), "{later:?}");
    let nobody = email(1).send(&samples()[0], NOW_MS);
    assert!(matches!(&nobody, Err(Failure::Later { .. })), "{nobody:?}");
}

fn command(script: &str, timeout: &str) -> Box<dyn Sink> {
    sink(&format!("[[command]]\nname = \"c\"\nargv = [\"sh\", \"-c\", '''{script}''']\ntimeout = \"{timeout}\""))
}

#[test]
fn a_command_gets_the_message_and_says_whether_it_was_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let script = format!(
        "cat > {path}/stdin; echo \"$SORDINI_STATUS $SORDINI_KIND $SORDINI_SEVERITY $SORDINI_ID\" > {path}/env"
    );
    command(&script, "5s").send(&samples()[0], NOW_MS).unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(json(&read("stdin"))["incidents"][0]["kind"], "lag-stop");
    assert_eq!(read("env"), "open lag-stop critical 0123456789abcdef-1\n");
    let failed = command("echo broken >&2; exit 3", "5s").send(&samples()[0], NOW_MS);
    assert!(matches!(&failed, Err(Failure::Later { why, .. }) if why == "sh: exit 3: broken"), "{failed:?}");
    // One that reads nothing and says much is no trouble either.
    command("exec <&-; head -c 1000000 /dev/zero >&2", "5s").send(&samples()[3], NOW_MS).unwrap();
}

#[test]
fn a_command_that_does_not_end_is_killed_with_what_it_started() {
    let begun = std::time::Instant::now();
    let failed = command("sleep 60 & sleep 60", "200ms").send(&samples()[0], NOW_MS);
    assert!(matches!(&failed, Err(Failure::Later { why, .. }) if why.contains("killed")), "{failed:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}
