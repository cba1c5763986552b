//! The server while it runs: scrapes, health, listeners, TLS, its end.

use super::*;

#[test]
fn a_scrape_gets_the_format_and_the_coding_it_asks_for() {
    let running = open();
    let deadline = Instant::now() + Duration::from_secs(20);
    while running.status("/metrics", &[]) == 503 {
        assert!(Instant::now() < deadline, "metrics were never written");
        std::thread::sleep(Duration::from_millis(20));
    }
    let scrape = |headers: &[(&str, &str)]| {
        let mut raw = TcpStream::connect(running.server.address()).unwrap();
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        write!(raw, "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n").unwrap();
        let mut answer = Vec::new();
        raw.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
    };
    let open_metrics = ("accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    let (head, plain) = scrape(&[]);
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let (head, text) = scrape(&[open_metrics]);
    assert!(head.contains("application/openmetrics-text; version=1.0.0") && text.ends_with(b"# EOF\n"));
    assert!(head.contains(&format!("content-length: {}", text.len())), "{head}");
    let (head, gzip) = scrape(&[open_metrics, ("accept-encoding", "gzip")]);
    assert!(head.contains("content-encoding: gzip"), "{head}");
    let mut inflated = Vec::new();
    flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut inflated).unwrap();
    let stable = |text: &[u8]| -> Vec<String> {
        let text = String::from_utf8(text.to_vec()).unwrap();
        text.lines().filter(|line| !line.starts_with("process_")).map(str::to_owned).collect()
    };
    assert_eq!(stable(&inflated), stable(&text));
    assert!(plain.starts_with(b"# HELP"));

    // A change is written without anybody asking for it.
    running.board.sinks.store(Arc::default());
    running.board.touch();
    let deadline = Instant::now() + Duration::from_secs(20);
    while String::from_utf8(scrape(&[]).1).unwrap().contains("sordini_sink_") {
        assert!(Instant::now() < deadline, "the change was never written");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn health_names_the_part_that_is_silent() {
    let running = open();
    assert_eq!((running.status("/livez", &[]), running.status("/readyz", &[])), (200, 200));
    let pulse = |last_ms, ready| Pulse { last_ms, allowed_ms: 60_000, ready };
    let parts = [("lag".to_owned(), pulse(NOON - 61_000, true)), ("alerts".to_owned(), pulse(NOON, false))];
    running.board.pulses.store(Arc::new(parts.into()));
    let said = |path: &str| running.get(path, &[]).body_mut().read_to_string().unwrap();
    assert_eq!((running.status("/livez", &[]), running.status("/readyz", &[])), (503, 503));
    assert_eq!(said("/livez"), "lag has been silent for 1 min 1 s, allowed are 1 min\n");
    assert!(said("/readyz").starts_with("alerts has not worked yet\nlag "));
    running.board.pulses.store(Arc::default());
    assert_eq!((running.status("/livez", &[]), running.status("/readyz", &[])), (200, 503));
}

fn listen(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    stream
}

#[test]
fn listeners_hear_of_changes_are_bounded_and_do_not_hold_up_the_end() {
    let running = open();
    let mut streams: Vec<TcpStream> = (0..64).map(|_| listen(running.server.address())).collect();
    for stream in &mut streams {
        let mut buffer = [0; 4096];
        assert!(stream.read(&mut buffer).unwrap() > 0);
    }
    assert_eq!(running.status("/events", &[]), 503);
    running.board.touch();
    let mut heard = String::new();
    while !heard.contains("event: change") {
        let mut buffer = [0; 4096];
        let read = streams[0].read(&mut buffer).unwrap();
        assert!(read > 0, "{heard}");
        heard += std::str::from_utf8(&buffer[..read]).unwrap();
    }
    let began = Instant::now();
    let Running { server, runtime, .. } = running;
    let address = server.address();
    server.stop();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    drop(runtime);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn it_speaks_tls_and_then_cookies_are_secure() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let running = start(|file, write| {
        let certificate = write("cert.pem", &certified.cert.pem());
        file.tls = Some(TlsFile { certificate, key: write("key.pem", &certified.signing_key.serialize_pem()) });
        file.token_file = Some(write("token", TOKEN));
    });
    let root = ureq::tls::Certificate::from_pem(certified.cert.pem().as_bytes()).unwrap();
    let tls = ureq::tls::TlsConfig::builder()
        .root_certs(ureq::tls::RootCerts::new_with_certs(&[root]))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let agent = Agent::config_builder().tls_config(tls).build().new_agent();
    let url = format!("https://localhost:{}/login", running.server.address().port());
    let response = agent.get(url).call().unwrap();
    assert!(response.headers()["set-cookie"].to_str().unwrap().ends_with("; Secure"));
}

#[test]
fn a_port_in_use_is_told_with_what_to_do() {
    let running = open();
    let file = ServeFile { listen: running.server.address(), ..ServeFile::default() };
    let started =
        Server::start(Settings::read(&file).unwrap(), sample::board(), running.actions.clone(), Info::default());
    let said = started.err().unwrap().to_string();
    assert!(said.contains("cannot listen on") && said.contains("serve.listen"), "{said}");
}
