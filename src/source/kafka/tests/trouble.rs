//! Brokers that refuse, move, close, promise too much or are not there.

use super::*;

#[test]
fn passing_errors_are_ridden_out() {
    for code in [5, 6, 7, 56, 74, 75, 78, -1] {
        let cluster = FakeCluster::start(1).with_topic("t", vec![Log::of(&[2, 2])]);
        let cluster = cluster.on_fetch(move |number, answer| {
            if number < 2 {
                *only(answer) = PartitionDataOf(code).into();
            }
            Then::Answer
        });
        assert_eq!(offsets(&read(&cluster, "t"), "t", 0), [0, 1, 2, 3], "error {code}");
    }
}

/// An answer that holds only an error.
#[test]
fn a_connection_closed_at_any_request_is_opened_again() {
    for at in 0..4 {
        let cluster = FakeCluster::start(1).with_topic("t", vec![Log::of(&[5; 4])]);
        let cluster = cluster.on_fetch(move |number, answer| {
            edit(only(answer), |bytes| bytes.truncate(batch(0, 5).len() + 10));
            if number == at { Then::Close } else { Then::Answer }
        });
        assert_eq!(offsets(&read(&cluster, "t"), "t", 0), Vec::from_iter(0..20), "closed at request {at}");
    }
}

#[test]
fn a_reader_follows_its_partition_to_another_leader() {
    let cluster = FakeCluster::start(2).with_topic("t", vec![Log::of(&[4; 3])]);
    let world = cluster.world().brokers.clone();
    assert_eq!(world.len(), 2);
    let cluster = cluster.on_fetch(|_, answer| {
        edit(only(answer), |bytes| bytes.truncate(batch(0, 4).len()));
        Then::Answer
    });
    let mut source = connect(&cluster, selection(&["t"]));
    let mut sink = RecordingSink::default();
    let assignments = sink.assign(source.partitions().unwrap());
    let mut readers = Box::new(source).readers(assignments).unwrap();
    cluster.world().log("t", 0).leader = 1;
    readers[0].run(&mut sink).unwrap();
    assert_eq!(offsets(&sink, "t", 0), Vec::from_iter(0..12));
    assert!(cluster.world().fetched.iter().any(|&(broker, ..)| broker == 1));
}

#[test]
fn what_never_recovers_is_given_up_with_a_reason() {
    let cluster = FakeCluster::start(1).with_topic("t", vec![Log::of(&[2])]);
    let cluster = cluster.on_fetch(|_, answer| {
        *only(answer) = PartitionDataOf(6).into();
        Then::Answer
    });
    let sink = run(connect_with(&cluster, selection(&["t"]), &[("sordini.retry.ms", "300")]));
    let Some(Seen::Failed(why)) = sink.events("t", 0).last().cloned() else { panic!("not given up") };
    assert!(why.contains("NOT_LEADER") && why.contains("sordini.retry.ms"), "{why}");
}

#[test]
fn a_missing_permission_fails_at_once_and_names_it() {
    let cluster = FakeCluster::start(1).with_topic("t", vec![Log::of(&[2])]);
    let cluster = cluster.on_fetch(|_, answer| {
        *only(answer) = PartitionDataOf(29).into();
        Then::Answer
    });
    let sink = read(&cluster, "t");
    let Some(Seen::Failed(why)) = sink.events("t", 0).last().cloned() else { panic!("not failed") };
    assert!(why.contains("grant READ"), "{why}");
}

#[test]
fn records_that_the_broker_promises_and_never_sends_end_in_a_failure() {
    let cluster = FakeCluster::start(1).with_topic("t", vec![Log::of(&[2])]);
    let cluster = cluster.on_fetch(|_, answer| {
        only(answer).records = None;
        Then::Answer
    });
    let sink = read(&cluster, "t");
    let Some(Seen::Failed(why)) = sink.events("t", 0).last().cloned() else { panic!("not failed") };
    assert!(why.contains("from offset 0 to 2"), "{why}");
}

#[test]
fn a_port_where_something_else_listens_says_so() {
    use std::io::Write;
    for (greeting, expected) in [
        (&b"HTTP/1.1 400 Bad Request\r\n"[..], "HTTP"),
        (b"\x15\x03\x03\x00\x02\x02\x50", "SSL"),
        (b"", "security.protocol"),
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = [0; 1024];
            let _ = std::io::Read::read(&mut stream, &mut heard);
            stream.write_all(greeting).unwrap();
        });
        let properties: Properties = [("bootstrap.servers".to_owned(), address)].into();
        let error = KafkaSource::connect(&properties, selection(&["t"])).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
        other.join().unwrap();
    }
}

#[test]
fn the_wish_to_stop_is_heeded_while_no_broker_can_be_reached() {
    let cluster = FakeCluster::start(1).with_topic("t", vec![Log::of(&[3])]);
    let mut source = connect(&cluster, Selection { follow: true, ..selection(&["t"]) });
    let mut assignments = RecordingSink::default().assign(source.partitions().unwrap());
    assignments[0].position = 1;
    // A listener that never answers: connections open, and nothing comes.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    cluster.world().brokers.push(silent.local_addr().unwrap().port());
    cluster.world().log("t", 0).leader = 1;
    let mut readers = Box::new(source).readers(assignments).unwrap();
    let stop = AtomicBool::new(false);
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            readers[0].run(&mut Stoppable(&stop)).unwrap();
            done.send(()).unwrap();
        });
        let (_connection, _) = silent.accept().unwrap();
        stop.store(true, Ordering::Relaxed);
        // Far below the ten seconds that a connection may take.
        ended.recv_timeout(Duration::from_secs(5)).unwrap();
    });
}

/// Takes everything, and stops on request.
struct Stoppable<'a>(&'a AtomicBool);

impl Sink for Stoppable<'_> {
    fn register(&mut self, info: PartitionInfo) -> Assignment {
        Assignment { index: 0, position: info.from, last_epoch: -1, info }
    }
    fn event(&mut self, _: u32, _: crate::source::Event<'_>) {}
    fn pass_on(&mut self, _: u32) {}
    fn unreadable_input(&mut self, _: &str, _: &str) {}
    fn stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
