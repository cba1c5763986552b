//! Every route there is, in one list: the router is made from it, and tests compare it with the OpenAPI document.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};

use super::app::App;
use super::{api, events, guard, health, page, scrape};

/// Forms and JSON bodies are small.
const BODY_BYTES: usize = 16 << 10;

/// All but path and handler is there to be compared with the document.
#[cfg_attr(not(test), expect(dead_code, reason = "tests compare the routes with the OpenAPI document"))]
pub struct Route {
    pub path: &'static str,
    pub method: &'static str,
    /// For programs, so it is in the OpenAPI document.
    pub is_api: bool,
    handler: MethodRouter<Arc<App>>,
}

pub fn routes() -> Vec<Route> {
    let read = |path, handler| Route { path, method: "get", is_api: true, handler };
    let change = |path, handler| Route { path, method: "post", is_api: true, handler };
    let page = |path, handler| Route { path, method: "get", is_api: false, handler };
    let form = |path, handler| Route { path, method: "post", is_api: false, handler };
    vec![
        read("/livez", get(health::livez)),
        read("/readyz", get(health::readyz)),
        read("/metrics", get(scrape::metrics)),
        read("/events", get(events::events)),
        read("/api/openapi.json", get(api::openapi)),
        read("/api/v1/overview", get(api::overview)),
        read("/api/v1/groups", get(api::groups::list)),
        read("/api/v1/groups/{group}", get(api::groups::one)),
        read("/api/v1/topics", get(api::topics::list)),
        read("/api/v1/topics/{topic}", get(api::topics::one)),
        read("/api/v1/flows", get(api::flows::list)),
        read("/api/v1/flows/{flow}", get(api::flows::one)),
        read("/api/v1/drift", get(api::drift::list)),
        read("/api/v1/drift/{pair}", get(api::drift::one)),
        read("/api/v1/findings", get(api::findings::list)),
        read("/api/v1/findings/{id}", get(api::findings::one)),
        read("/api/v1/incidents", get(api::incidents::list)),
        read("/api/v1/incidents/{id}", get(api::incidents::one)),
        change("/api/v1/incidents/{id}/acknowledge", post(api::incidents::acknowledge)),
        change("/api/v1/incidents/{id}/mute", post(api::incidents::mute)),
        read("/api/v1/search", get(api::search)),
        read("/v3/kafka", get(api::burrow::clusters)),
        read("/v3/kafka/{cluster}", get(api::burrow::cluster)),
        read("/v3/kafka/{cluster}/topic", get(api::burrow::topics)),
        read("/v3/kafka/{cluster}/topic/{topic}", get(api::burrow::topic)),
        read("/v3/kafka/{cluster}/consumer", get(api::burrow::consumers)),
        read("/v3/kafka/{cluster}/consumer/{group}", get(api::burrow::consumer)),
        read("/v3/kafka/{cluster}/consumer/{group}/status", get(api::burrow::status)),
        read("/v3/kafka/{cluster}/consumer/{group}/lag", get(api::burrow::lag)),
        page("/", get(page::overview::show)),
        page("/groups", get(page::groups::show)),
        page("/groups/{group}", get(page::group::show)),
        page("/topics", get(page::topics::show)),
        page("/topics/{topic}", get(page::topic::show)),
        page("/flows", get(page::flows::show)),
        page("/flows/{flow}", get(page::flow::show)),
        page("/drift", get(page::drifts::show)),
        page("/drift/{pair}", get(page::drift::show)),
        page("/findings/{id}", get(page::finding::show)),
        page("/incidents/{id}", get(page::incident::show)),
        page("/search", get(page::search::show)),
        page("/login", get(page::login::show)),
        form("/login", post(page::login::log_in)),
        form("/logout", post(page::login::log_out)),
        form("/incidents/{id}/acknowledge", post(page::incident::acknowledge)),
        form("/incidents/{id}/mute", post(page::incident::mute)),
    ]
}

pub fn router(app: Arc<App>) -> Router {
    let router = routes().into_iter().fold(Router::new(), |router, route| router.route(route.path, route.handler));
    router
        .fallback(page::not_found)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(from_fn_with_state(app.clone(), guard::guard))
        .with_state(app)
}
