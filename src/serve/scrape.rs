//! The handler of `/metrics`: chooses among what was written in the background.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::app::{App, Pieces};
use super::metrics::Format;

pub async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let served = app.served.load_full();
    let Some(exposition) = &*served else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the metrics are not written yet\n").into_response();
    };
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let format = Format::asked(text(header::ACCEPT));
    let packed = match format {
        Format::OpenMetrics => &exposition.open_metrics,
        Format::Plain => &exposition.plain,
    };
    let common = [(header::CONTENT_TYPE, format.content_type()), (header::VARY, "accept, accept-encoding")];
    if text(header::ACCEPT_ENCODING).is_some_and(takes_gzip) {
        let own =
            [(header::CONTENT_ENCODING, "gzip".to_owned()), (header::CONTENT_LENGTH, packed.gzip_length().to_string())];
        let pieces = packed.gzip().map(Ok::<Bytes, io::Error>);
        (common, own, Body::from_stream(Pieces(pieces))).into_response()
    } else {
        let own = [(header::CONTENT_LENGTH, packed.text_length().to_string())];
        (common, own, Body::from_stream(Pieces(packed.text()))).into_response()
    }
}

fn takes_gzip(header: &str) -> bool {
    header.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip") || name == "*");
        let refused = parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse::<f32>() == Ok(0.0)));
        named && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        assert!(takes_gzip("gzip") && takes_gzip("br, GZIP;q=0.5") && takes_gzip("*"));
        assert!(!takes_gzip("") && !takes_gzip("br") && !takes_gzip("gzip;q=0, identity") && !takes_gzip("gzipped"));
    }
}
