//! The server as others meet it: over real sockets.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::board::Pulse;
use super::sample::{self, EVIL, NOON, Recorded};
use super::*;
use crate::config::serve::{BasicAuthFile, Compat, ServeFile, TlsFile};

const TOKEN: &str = "0123456789abcdef-the-token";

struct Running {
    server: Server,
    board: Arc<board::Board>,
    actions: Arc<Recorded>,
    agent: Agent,
    runtime: tokio::runtime::Runtime,
    _files: tempfile::TempDir,
}

fn start(change: impl FnOnce(&mut ServeFile, &dyn Fn(&str, &str) -> PathBuf)) -> Running {
    let files = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let mut file = ServeFile { listen: "127.0.0.1:0".parse().unwrap(), ..ServeFile::default() };
    file.compat = vec![Compat::KafkaExporter, Compat::LagExporter];
    change(&mut file, &write);
    let (board, actions) = (sample::board(), Arc::new(Recorded::default()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let settings = Settings::read(&file).unwrap();
    let server =
        Server::start_on(runtime.handle().clone(), settings, board.clone(), actions.clone(), Info::default(), || NOON)
            .unwrap();
    let agent = Agent::config_builder().http_status_as_error(false).max_redirects(0).build().new_agent();
    Running { server, board, actions, agent, runtime, _files: files }
}

fn open() -> Running {
    start(|_, _| {})
}

fn with_token() -> Running {
    start(|file, write| file.token_file = Some(write("token", TOKEN)))
}

impl Running {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address())
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
        let request = headers.iter().fold(self.agent.get(self.url(path)), |r, (name, value)| r.header(*name, *value));
        request.call().unwrap()
    }

    fn status(&self, path: &str, headers: &[(&str, &str)]) -> u16 {
        self.get(path, headers).status().as_u16()
    }

    fn text(&self, path: &str) -> String {
        let mut response = self.get(path, &[("accept", "text/html")]);
        assert_eq!(response.status(), 200, "{path}");
        response.body_mut().read_to_string().unwrap()
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).unwrap()
    }

    fn form(&self, path: &str, headers: &[(&str, &str)], form: &[(&str, &str)]) -> Response<Body> {
        let request = headers.iter().fold(self.agent.post(self.url(path)), |r, (name, value)| r.header(*name, *value));
        request.send_form(form.iter().copied()).unwrap()
    }

    fn send(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Response<Body> {
        let request = headers.iter().fold(self.agent.post(self.url(path)), |r, (name, value)| r.header(*name, *value));
        request.header("content-type", "application/json").send(body).unwrap()
    }

    /// A cookie and the token that forms of its page carry.
    fn page(&self, path: &str, cookie: &str) -> (String, String) {
        let mut response = self.get(path, &[("cookie", cookie)]);
        let set = response.headers().get("set-cookie").map(|value| value.to_str().unwrap().to_owned());
        let cookie = set.map_or(cookie.to_owned(), |set| set.split(';').next().unwrap().to_owned());
        let text = response.body_mut().read_to_string().unwrap();
        let token = text.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        (cookie, token)
    }

    fn calls(&self) -> Vec<String> {
        self.actions.calls.lock().unwrap().clone()
    }
}

fn pages() -> Vec<String> {
    let mut pages: Vec<String> =
        ["/", "/groups", "/topics", "/flows", "/search", "/search?id=order-4711", "/search?id=broken"]
            .map(str::to_owned)
            .into();
    let board = sample::board();
    let (lag, audits) = (board.lag.load(), board.audits.load());
    pages.extend(lag.groups.iter().map(|group| page::path("/groups", &group.group)));
    pages.extend(look::topics(&lag, &audits).into_iter().map(|topic| page::path("/topics", topic)));
    let flows = look::reports(&audits).filter_map(|(_, report)| report.summary.flow.as_ref());
    pages.extend(flows.map(|flow| page::path("/flows", &flow.flow)));
    pages.extend(look::findings(&audits).map(|(_, finding)| page::path("/findings", &finding.id)));
    pages.extend(board.incidents.load().iter().map(|incident| page::path("/incidents", &incident.id)));
    pages.push(format!("/groups?q={}", page::path("", EVIL).trim_start_matches('/')));
    pages.push(format!("/search?id={}", page::path("", EVIL).trim_start_matches('/')));
    pages
}

/// Every element is closed in order, ids are unique, and what is foreign is text.
fn assert_well_formed(path: &str, html: &str) {
    const VOID: [&str; 4] = ["meta", "link", "input", "br"];
    let script = html.find("<script>").unwrap();
    let end = html.rfind("</script>").unwrap();
    assert_eq!(html.matches("<script").count(), 1, "{path}");
    let html = format!("{}{}", &html[..script], &html[end + 9..]);
    let (head, body) = html.split_once("<style>").unwrap();
    let html = format!("{head}{}", body.split_once("</style>").unwrap().1);
    let mut open: Vec<&str> = Vec::new();
    let mut ids = BTreeSet::new();
    for tag in html.split('<').skip(1) {
        let tag = tag.split_once('>').unwrap_or_else(|| panic!("{path}: <{tag}")).0;
        let name = tag.split([' ', '/']).find(|part| !part.is_empty()).unwrap();
        assert_eq!(tag.matches('"').count() % 2, 0, "{path}: <{tag}>");
        if let Some(id) = tag.split(" id=\"").nth(1) {
            assert!(ids.insert(id.split('"').next().unwrap()), "{path}: twice {id}");
        }
        for event in ["onload", "onclick", "onerror", "style="] {
            assert!(!tag.contains(event), "{path}: <{tag}>");
        }
        match () {
            () if tag.starts_with('!') || tag.ends_with('/') || VOID.contains(&name) => {}
            () if tag.starts_with('/') => assert_eq!(open.pop(), Some(name), "{path}"),
            () => open.push(name),
        }
    }
    assert!(open.is_empty(), "{path}: {open:?}");
    for landmark in ["<header", "<nav aria-label", "<main id=\"main\"", "<footer", "class=\"skip\"", "<h1", "aria-live"]
    {
        assert!(html.contains(landmark), "{path} lacks {landmark}");
    }
    assert_eq!(
        html.matches("<svg").count(),
        html.matches("role=\"img\"").count() + html.matches("aria-hidden").count()
    );
    assert!(!html.contains("javascript:") && !html.contains('\u{202e}'), "{path}");
    assert!(!html.contains(" src=") && !html.contains("url("), "{path}");
}

#[test]
fn every_page_is_well_formed_whatever_names_there_are() {
    let running = open();
    for path in pages() {
        let html = running.text(&path);
        assert_well_formed(&path, &html);
    }
    assert_well_formed("none", &running.get("/nothing", &[]).body_mut().read_to_string().unwrap());
    assert_eq!(running.status("/groups/nobody", &[]), 404);
    assert_eq!(running.status("/api/v1/nothing", &[]), 404);
}

#[test]
fn pages_say_what_the_board_says() {
    let running = open();
    let overview = running.text("/");
    assert!(
        overview.contains("5 incidents open, 3 of them critical; 13 of 16 groups in trouble; 4 of 6 audits"),
        "{}",
        {
            let at = overview.find("data-says").unwrap();
            overview[at..at + 200].to_owned()
        }
    );
    let group = running.text("/groups/group-stop");
    for part in ["no commit for 4 min 12 s", "retention overtakes in 34 min", "12,315", "sordini lag -g"] {
        assert!(group.contains(part), "{part}");
    }
    let unknown = running.text("/groups/never-heard");
    assert!(unknown.contains("unknown<span class=\"unseen\">: the group has committed nothing here</span>"));
    let id = crate::report::sample::missing("pump-7", 2, 17, 21, 12).id;
    let finding = running.text(&format!("/findings/{id}"));
    for part in ["sequence-gap", "proven", "wait_ms", "Runbook", "sordini trace --session pump-7 --number 17"] {
        assert!(finding.contains(part), "{part}");
    }
    assert!(
        running.text("/topics/orders").contains("nothing explains")
            || running.text("/topics/payments").contains("nothing explains")
    );
    assert!(running.text("/search?id=order-4711").contains("702"));
    assert!(running.text("/search?id=broken").contains("role=\"alert\""));
}

#[test]
fn a_flow_has_a_page_with_its_figures_and_what_its_losses_have_in_common() {
    let running = open();
    let page = running.text("/flows/purchase");
    for part in [
        "n = 100, residue 99: 120 of 120 lost",
        "The next three to be lost, by transaction number",
        "12099",
        "12199",
        "12299",
        "orders → payments",
        "11,875",
        "125 missing",
        "burning",
        "producer 4711: 240 of 244 are lost",
        "sordini flows -c /etc/sordini/sordini.toml --flow purchase",
        "href=\"/topics/mail.out\"",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let report = crate::report::sample::flow();
    for finding in &report.findings {
        assert!(page.contains(&format!("href=\"/findings/{}\"", finding.id)), "{}", finding.why);
    }
    assert!(running.text("/flows").contains("href=\"/flows/purchase\""));
    let periodic = report.findings.iter().find(|finding| finding.evidence.contains_key("residues")).unwrap();
    let finding = running.text(&format!("/findings/{}", periodic.id));
    assert!(finding.contains("class=\"residues\"") && finding.contains("12099"));

    let flow = running.json("/api/v1/flows/purchase");
    assert_eq!((&flow["flow"]["flow"], &flow["audit"]), (&"purchase".into(), &"purchases".into()));
    assert_eq!(flow["findings"].as_array().unwrap().len(), report.findings.len());
    assert_eq!(flow["findings"][0]["audit"], "purchases");
    let all = running.json("/api/v1/flows");
    assert_eq!(all["of"].as_u64(), all["flows"].as_array().map(|flows| flows.len() as u64));
    assert!(all["flows"].as_array().unwrap().iter().any(|one| one["flow"] == flow["flow"]));
    assert_eq!((running.status("/flows/none", &[]), running.status("/api/v1/flows/none", &[])), (404, 404));
}

#[test]
fn the_document_and_the_router_name_the_same_routes() {
    let running = open();
    let document = running.json("/api/openapi.json");
    let mut documented = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            documented.insert((path.clone(), method.clone()));
            let named: BTreeSet<&str> = path.split(['{', '}']).skip(1).step_by(2).collect();
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let of_path = parameters.iter().filter(|p| p["in"] == "path").map(|p| p["name"].as_str().unwrap());
            assert_eq!(of_path.collect::<BTreeSet<_>>(), named, "{path}");
            assert!(operation["responses"].is_object() && operation["summary"].is_string(), "{path}");
        }
    }
    let routed: BTreeSet<_> = router::routes()
        .into_iter()
        .filter(|route| route.is_api)
        .map(|route| (route.path.to_owned(), route.method.to_owned()))
        .collect();
    assert_eq!(documented, routed);
    let kinds = serde_json::json!(crate::audit::finding::Kind::ALL);
    assert_eq!(document["components"]["schemas"]["Finding"]["properties"]["kind"]["enum"], kinds);
    let parameters = &document["paths"]["/api/v1/findings"]["get"]["parameters"];
    let of_kind = parameters.as_array().unwrap().iter().find(|parameter| parameter["name"] == "kind");
    assert_eq!(of_kind.unwrap()["schema"]["enum"], kinds);
    for reference in document.to_string().split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}

#[test]
fn the_api_says_unknown_with_its_reason() {
    let running = open();
    let group = running.json("/api/v1/groups/never-heard");
    assert!(group["lag"].is_null());
    assert_eq!(group["unknown"]["lag"], "the group has committed nothing here");
    assert_eq!(group["partitions"][0]["unknown"]["record_lag"], "sordini does not read this topic");
    assert_eq!(running.json("/api/v1/groups?verdict=stop")["of"], 2);
    assert_eq!(running.json(&page::path("/api/v1/groups", EVIL))["group"], EVIL);
    assert_eq!(
        running.json("/api/v1/findings?kind=sequence-gap&topic=orders&state=open&limit=1")["findings"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let fresh = running.json("/api/v1/overview")["audits"].as_array().unwrap().clone();
    let fresh = fresh.iter().find(|audit| audit["name"] == "fresh").unwrap().clone();
    assert!(fresh["verdict"].is_null() && fresh["unknown"]["verdict"].is_string());
    assert_eq!(running.json("/api/v1/incidents")["incidents"][0]["state"], "open");
    assert_eq!(running.json("/api/v1/topics/orders")["partitions"].as_array().unwrap().len(), 6);
    assert_eq!(running.json("/api/v1/search?id=order-4711")["found"][0]["value"], EVIL);
    for (path, status) in [
        ("/api/v1/search?id=broken", 502),
        ("/api/v1/search", 400),
        ("/api/v1/groups?verdict=nonsense", 400),
        ("/api/v1/findings/none", 404),
        ("/api/v1/incidents/none", 404),
        ("/api/v1/topics/none", 404),
    ] {
        assert_eq!(running.status(path, &[]), status, "{path}");
    }
}

#[test]
fn tools_that_speak_burrow_get_its_shape() {
    let running = open();
    assert_eq!(running.json("/v3/kafka")["clusters"], serde_json::json!(["backbone"]));
    let status = running.json("/v3/kafka/backbone/consumer/group-stop/status");
    assert_eq!((&status["error"], &status["message"]), (&false.into(), &"consumer status returned".into()));
    assert_eq!(status["request"]["url"], "/v3/kafka/backbone/consumer/group-stop/status");
    let status = &status["status"];
    assert_eq!(
        (&status["status"], &status["totallag"], &status["complete"]),
        (&"ERR".into(), &12_315.into(), &1.0.into())
    );
    assert_eq!((status["partitions"].as_array().unwrap().len(), &status["partition_count"]), (1, &6.into()));
    assert_eq!(status["partitions"][0]["status"], "STOP");
    assert_eq!(status["maxlag"]["end"]["offset"], 87_700);
    let lag = running.json("/v3/kafka/backbone/consumer/group-warn/lag");
    assert_eq!(lag["status"]["partitions"].as_array().unwrap().len(), 6);
    assert_eq!(lag["status"]["status"], "WARN");
    assert_eq!(
        running.json("/v3/kafka/backbone/topic/payments")["offsets"],
        serde_json::json!([100_020, 100_020, 100_020])
    );
    assert!(running.json("/v3/kafka/backbone")["module"].is_object());
    assert!(running.json("/v3/kafka/backbone/topic")["topics"].is_array());
    assert!(running.json("/v3/kafka/backbone/consumer")["consumers"].is_array());
    assert!(running.json("/v3/kafka/backbone/consumer/group-ok")["topics"]["orders"].is_array());
    let mut gone = running.get("/v3/kafka/backbone/consumer/nobody/status", &[]);
    assert_eq!(gone.status(), 404);
    let gone: Value = serde_json::from_str(&gone.body_mut().read_to_string().unwrap()).unwrap();
    assert_eq!((&gone["error"], &gone["message"]), (&true.into(), &"cluster or consumer not found".into()));
}

#[test]
fn with_a_token_nothing_is_shown_without_it() {
    let running = with_token();
    for route in router::routes().into_iter().filter(|route| route.method == "get") {
        let open = ["/livez", "/readyz", "/login"].contains(&route.path);
        assert_eq!(running.status(route.path, &[]), if open { 200 } else { 401 }, "{}", route.path);
    }
    assert_eq!(running.status("/", &[("authorization", "Bearer wrong-wrong-wrong")]), 401);
    assert_eq!(running.status("/", &[("authorization", &format!("Bearer {TOKEN}"))]), 200);
    let browser = running.get("/groups", &[("accept", "text/html")]);
    assert_eq!((browser.status().as_u16(), browser.headers()["location"].to_str().unwrap()), (303, "/login"));
    assert!(running.get("/api/v1/groups", &[]).headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
    assert!(!running.text("/login").contains("backbone"));
}

#[test]
fn metrics_may_be_open_and_basic_auth_looks_but_does_not_change() {
    let running = start(|file, write| {
        file.metrics_without_auth = true;
        file.basic_auth = Some(BasicAuthFile { users_file: Some(write("users", "ann:pass")), ..Default::default() });
    });
    let ann = format!("Basic {}", auth::base64::encode(b"ann:pass"));
    assert_ne!(running.status("/metrics", &[]), 401);
    assert_eq!(running.status("/", &[]), 401);
    assert_eq!(running.status("/", &[("authorization", &ann)]), 200);
    let path = "/api/v1/incidents/0000000000000001/acknowledge";
    let refused = running.send(path, &[("authorization", &ann)], "{\"by\":\"ann\"}");
    assert_eq!(refused.status(), 403);
    assert!(running.calls().is_empty());
}

#[test]
fn a_session_comes_from_the_token_and_forms_need_theirs() {
    let running = with_token();
    let (cookie, csrf) = running.page("/login", "");
    let headers = [("cookie", cookie.as_str())];
    assert_eq!(running.form("/login", &headers, &[("csrf", &csrf), ("token", "wrong")]).status(), 403);
    assert_eq!(running.form("/login", &[], &[("csrf", &csrf), ("token", TOKEN)]).status(), 403, "without the cookie");
    let logged_in = running.form("/login", &headers, &[("csrf", &csrf), ("token", TOKEN)]);
    assert_eq!(logged_in.status(), 303);
    let set = logged_in.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && !set.contains("Secure"), "{set}");
    let session = set.split(';').next().unwrap();

    let path = "/incidents/0000000000000002/acknowledge";
    let form = |csrf: &str, headers: &[(&str, &str)]| {
        running.form(path, headers, &[("csrf", csrf), ("by", "mara"), ("note", "on it")]).status().as_u16()
    };
    let (_, own) = running.page("/incidents/0000000000000002", session);
    let origin = format!("http://{}", running.server.address());
    assert_eq!(form(&csrf, &[("cookie", session)]), 403, "the token of another session");
    assert_eq!(form(&own, &headers), 401, "a session that is not logged in");
    assert_eq!(form(&own, &[("cookie", session), ("origin", "http://evil.example")]), 403);
    assert_eq!(form(&own, &[("cookie", session), ("sec-fetch-site", "cross-site")]), 403);
    assert!(running.calls().is_empty());
    assert_eq!(form(&own, &[("cookie", session), ("origin", &origin)]), 303);
    assert_eq!(running.calls(), ["acknowledge 0000000000000002 by mara: on it"]);
    assert_eq!(running.form("/logout", &[("cookie", session)], &[("csrf", &own)]).status(), 303);
}

#[test]
fn programs_change_things_with_the_token() {
    let running = with_token();
    let bearer = format!("Bearer {TOKEN}");
    let send = |path: &str, body: &str| running.send(path, &[("authorization", &bearer)], body).status().as_u16();
    let base = "/api/v1/incidents/0000000000000003";
    assert_eq!(running.send(&format!("{base}/mute"), &[], "{\"for\":\"1h\"}").status(), 401);
    assert_eq!(send(&format!("{base}/mute"), "{\"for\":\"1h\"}"), 200);
    assert_eq!(send(&format!("{base}/mute"), "{\"until_ms\":0}"), 200);
    assert_eq!(send(&format!("{base}/acknowledge"), "{\"by\":\"bot\",\"note\":\"n\"}"), 200);
    for body in ["{}", "{\"for\":\"soon\"}", "{\"for\":\"1h\",\"until_ms\":1}"] {
        assert_eq!(send(&format!("{base}/mute"), body), 422, "{body}");
    }
    assert_eq!(send(&format!("{base}/acknowledge"), "{\"by\":\" \"}"), 422);
    assert_eq!(send("/api/v1/incidents/none/mute", "{\"for\":\"1h\"}"), 404);
    assert_eq!(send(&format!("{base}/acknowledge"), &format!("{{\"by\":\"{}\"}}", "x".repeat(20_000))), 413);
    let hour = format!("mute 0000000000000003 until Some({})", NOON + 3_600_000);
    assert_eq!(running.calls(), [&hour, "mute 0000000000000003 until None", "acknowledge 0000000000000003 by bot: n"]);
}

#[test]
fn on_loopback_without_a_token_forms_work_and_other_sites_do_not() {
    let running = open();
    let path = "/incidents/0000000000000002/mute";
    let (cookie, csrf) = running.page("/incidents/0000000000000002", "");
    assert_eq!(running.form(path, &[], &[("csrf", ""), ("for", "1h")]).status(), 403);
    assert_eq!(running.form(path, &[("cookie", &cookie)], &[("csrf", &csrf), ("for", "1h")]).status(), 303);
    let api = "/api/v1/incidents/0000000000000002/mute";
    let evil = [("origin", "http://evil.example")];
    assert_eq!(running.send(api, &evil, "{\"for\":\"1h\"}").status(), 403);
    // What a foreign form can send without asking is no JSON.
    assert_eq!(running.form(api, &[], &[("for", "1h")]).status(), 415);
    assert_eq!(running.calls().len(), 1);
}

#[test]
fn a_foreign_name_for_loopback_is_refused() {
    let running = open();
    for (host, status) in [("evil.example", 421), ("localhost", 200), ("[::1]:9318", 200)] {
        assert_eq!(running.status("/livez", &[("host", host)]), status, "{host}");
    }
}

#[test]
fn every_answer_ties_the_browser_down() {
    let running = open();
    for path in ["/", "/nothing", "/metrics", "/api/v1/overview"] {
        let response = running.get(path, &[]);
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        let policy = header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("cache-control"), "no-store");
    }
    // The hashes are those of what stands in the page.
    let html = running.text("/");
    let policy = running.get("/", &[]).headers()["content-security-policy"].to_str().unwrap().to_owned();
    for (open, close) in [("<style>", "</style>"), ("<script>", "</script>")] {
        let inner = html.split_once(open).unwrap().1.rsplit_once(close).unwrap().0;
        let digest: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(inner.as_bytes()).into();
        assert!(policy.contains(&auth::base64::encode(&digest)), "{open}");
    }
}

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

/// A snapshot as wide as a large cluster: groups of fifty partitions each.
fn wide(parts: usize) -> crate::lag::snapshot::Snapshot {
    let mut snapshot = sample::snapshot();
    let group = sample::by_verdict(crate::lag::verdict::Verdict::Ok);
    let part = group.partitions[3].clone();
    snapshot.groups = (0..parts / 50)
        .map(|n| {
            let topic: Arc<str> = format!("billing.invoices.{:03}", n % 200).into();
            let partitions = (0..50)
                .map(|partition| crate::lag::snapshot::PartitionLag {
                    topic: topic.clone(),
                    partition,
                    committed: Ok(90_000_000 + (n as i64 * 7_919 + i64::from(partition) * 104_729) % 1_000_003),
                    lag: Ok((n as i64 * 31 + i64::from(partition) * 17) % 977),
                    ..part.clone()
                })
                .collect();
            let group_name = format!("payments-service-{n:05}").into();
            crate::lag::snapshot::GroupLag { group: group_name, partitions, ..group.clone() }
        })
        .collect();
    snapshot
}

/// `cargo test --release -- --ignored --nocapture a_scrape_at` for figures worth quoting.
#[test]
#[ignore = "a measurement: 100,000 group-partitions in both families"]
fn a_scrape_at_a_hundred_thousand_partitions_costs_a_copy() {
    let running = open();
    let before = metrics::resident_bytes().unwrap_or(0);
    let snapshot = wide(100_000);
    let with_snapshot = metrics::resident_bytes().unwrap_or(0);
    let settings =
        crate::serve::metrics::Options { compat: vec![Compat::KafkaExporter, Compat::LagExporter], sentinels: false };
    let board = sample::board();
    board.lag.store(Arc::new(snapshot));
    let mut renderer = metrics::Renderer::new(settings, "1");
    let began = Instant::now();
    let exposition = renderer.render(&board, NOON).unwrap();
    let first = began.elapsed();
    let began = Instant::now();
    let again = renderer.render(&board, NOON).unwrap();
    println!(
        "written in {first:?}, again without a new round in {:?}; text {} MB, gzip {} MB; memory: snapshot {} MB, text {} MB",
        began.elapsed(),
        exposition.open_metrics.text_length() / 1_000_000,
        exposition.open_metrics.gzip_length() / 1_000_000,
        with_snapshot.saturating_sub(before) / 1_000_000,
        metrics::resident_bytes().unwrap_or(0).saturating_sub(with_snapshot) / 1_000_000,
    );
    drop((exposition, again));
    running.board.lag.store(board.lag.load_full());
    running.board.touch();
    let scrape = |coding: &str| {
        let mut raw = TcpStream::connect(running.server.address()).unwrap();
        let began = Instant::now();
        write!(
            raw,
            "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\naccept-encoding: {coding}\r\n\r\n"
        )
        .unwrap();
        let (mut buffer, mut bytes) = (vec![0; 1 << 16], 0);
        loop {
            match raw.read(&mut buffer).unwrap() {
                0 => return (began.elapsed(), bytes),
                read => bytes += read,
            }
        }
    };
    let deadline = Instant::now() + Duration::from_secs(120);
    while scrape("gzip").1 < 1_000_000 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(200));
    }
    for coding in ["gzip", "identity"] {
        let mut times: Vec<(Duration, usize)> = (0..50).map(|_| scrape(coding)).collect();
        times.sort();
        println!("{coding}: {} bytes, median {:?}, p98 {:?}", times[0].1, times[25].0, times[48].0);
        assert!(coding != "gzip" || times[25].0 < Duration::from_millis(50), "{:?}", times[25]);
    }
}

/// To look at: `SORDINI_LOOK=127.0.0.1:9318 cargo test -- --ignored the_sample_board_is_served`.
#[test]
#[ignore = "serves the sample until it is killed, for people who want to look"]
fn the_sample_board_is_served() {
    let address = std::env::var("SORDINI_LOOK").unwrap_or("127.0.0.1:9318".to_owned());
    let _running = start(|file, _| file.listen = address.parse().unwrap());
    std::thread::sleep(Duration::from_secs(3_600));
}
