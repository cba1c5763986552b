//! The API: its document, figures that are unknown, and the shape that Burrow has.

use super::*;

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
