//! How much a large cluster costs.

use super::*;

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
