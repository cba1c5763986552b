//! Who may look, who may change things, and what a browser is told.

use super::*;

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
