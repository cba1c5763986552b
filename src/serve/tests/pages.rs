//! Pages: well formed whatever names there are, and saying what the board says.

use super::*;

fn pages() -> Vec<String> {
    let mut pages: Vec<String> =
        ["/", "/groups", "/topics", "/flows", "/drift", "/search", "/search?id=order-4711", "/search?id=broken"]
            .map(str::to_owned)
            .into();
    let board = sample::board();
    let (lag, audits, drifts) = (board.lag.load(), board.audits.load(), board.drifts.load());
    pages.extend(drifts.keys().map(|pair| page::path("/drift", pair)));
    pages.extend(look::differences(&drifts).map(|(_, finding)| page::path("/findings", &finding.id)));
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
fn a_pair_of_stores_has_a_page_with_its_claim_its_buckets_and_its_findings() {
    let running = open();
    let page = running.text("/drift/orders-table");
    for part in [
        "claim: bracketed; 10 keys in flight could be any version since the cut",
        "first: topic orders, 50,000 keys",
        "3,072 of 4,096 buckets compared, 3 with keys that differ",
        "M40 15h1v1h-1z",
        "<th scope=\"row\">amount</th>",
        "<th scope=\"row\">10m</th><td class=\"n last\">3</td>",
        "99990",
        "id 5 differs: amount 10.00 → 10.01",
        "<h2>Healed</h2>",
        "sordini drift -c /etc/sordini/sordini.toml --only orders-table",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let report = crate::report::sample::drift();
    for finding in &report.findings {
        assert!(page.contains(&format!("href=\"/findings/{}\"", finding.id)), "{}", finding.why);
    }
    let finding = running.text(&format!("/findings/{}", report.findings[0].id));
    for part in ["href=\"/drift/orders-table\"", "first seen to differ", "--only orders-table"] {
        assert!(finding.contains(part), "{part}");
    }
    let all = running.text("/drift");
    assert!(all.contains("href=\"/drift/orders-table\"") && all.contains("connection refused"), "{all}");
    assert!(running.text("/incidents/0000000000000008").contains("href=\"/drift/orders-table\""));

    let pair = running.json("/api/v1/drift/orders-table");
    assert_eq!((&pair["pair"], &pair["drift"]["missing"]), (&"orders-table".into(), &1.into()));
    assert_eq!(
        (pair["findings"].as_array().map(Vec::len), &pair["findings"][0]["pair"]),
        (Some(4), &"orders-table".into())
    );
    let fresh = running.json("/api/v1/drift/fresh");
    assert!(fresh["verdict"].is_null() && fresh["unknown"]["verdict"].is_string(), "{fresh}");
    assert_eq!(running.json("/api/v1/drift")["of"], 3);
    assert_eq!(running.json("/api/v1/findings?kind=missing&topic=orders")["findings"][0]["pair"], "orders-table");
    assert_eq!((running.status("/drift/none", &[]), running.status("/api/v1/drift/none", &[])), (404, 404));
}
