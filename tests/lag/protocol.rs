//! Groups of other kinds, groups that may not be looked at, and groups that are none of sordini's business.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use sordini::audit::verdict::Verdict as Outcome;
use sordini::lag::facts::GroupKind;
use sordini::lag::figure::Unknown;
use sordini::lag::verdict::Verdict;
use sordini::report::lag::outcome;
use sordini_lab::broker::{Listener, OTHER_USER};
use sordini_lab::{java, wait_for};

use crate::watch::{self, Watch, group};
use crate::world::{Scenario, World, numbered, play};

#[test]
fn groups_of_every_kind_are_judged_as_far_as_one_may_look() {
    const ALL: &[Scenario] = &[("shared-out", shared_out), ("refused", refused), ("streams", streams)];
    play(ALL);
}

/// Of a share group the coordinator alone knows how much is left, and says so to Kafka's own tool as well.
fn shared_out(world: &World) {
    let name = "shared-out";
    let kafka = &world.kafka;
    kafka.create_topic(name, 1, &[]);
    kafka.producer(&[]).send_all(&numbered(name, 0, 10));
    kafka.share_from_the_start(name);
    kafka.share(name, name, 4);
    world.watch.pass(2);
    let args = ["--bootstrap-server", &kafka.bootstrap(), "--describe", "--offsets", "--group", name];
    let told = java::run("org.apache.kafka.tools.consumer.group.ShareGroupCommand", &args);
    let line = told.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{told}"));
    let numbers: Vec<i64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [partition, start, lag] = numbers[..] else { panic!("{told}") };
    world.watch.pass(1);
    let found = world.watch.group(name).expect("it is known");
    assert_eq!(found.kind, GroupKind::Share);
    let ours = world.watch.partition(name, partition as i32);
    assert_eq!((ours.committed, ours.record_lag), (Ok(start), Ok(lag)), "{told}\n{ours:?}");
    assert_eq!(lag, 6, "{told}");
    // Its reader left with records unread: that is nobody there, as with any group.
    world.watch.only(name, &[Verdict::NoOwner]);
    world.watch.says(name, 0, Verdict::NoOwner, watch::NO_OWNER);
}

/// The offsets of one group may not be read: that is said of it, and blanks no other.
fn refused(world: &World) {
    let kafka = &world.kafka;
    kafka.create_topic("watched", 1, &[]);
    kafka.producer(&[]).send_all(&numbered("watched", 0, 5));
    for group in ["seen", "unseen"] {
        kafka.commit_offsets(group, &[("watched", 0, 5)]);
    }
    let user = OTHER_USER.0;
    kafka.grant(user, &["Describe", "Read"], "watched");
    kafka.grant_cluster(user, &["Describe"]);
    kafka.grant_group(user, &["Describe"], "seen");
    let mut plan = watch::plan(&kafka.address(Listener::SaslPlaintext));
    plan.offsets_topic = false;
    plan.filter.groups = vec![sordini::lag::collect::Filter::pattern("seen|unseen").expect("it is a pattern")];
    plan.properties.extend(
        [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", user),
            ("sasl.password", OTHER_USER.1),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    let watched = Watch::start(plan);
    watched.pass(4);
    let last = watched.last();
    let seen = group(&last, "seen").expect("it is known");
    assert_eq!((seen.judgement.verdict, seen.lag), (Verdict::Ok, Ok(0)), "{seen:?}");
    let unseen = group(&last, "unseen").expect("it is listed");
    assert_eq!((unseen.judgement.verdict, unseen.offsets), (Verdict::Unknown, Err(Unknown::Denied)), "{unseen:?}");
    assert!(unseen.lag.is_err() && unseen.record_lag.is_err() && unseen.could_not_be_asked(), "{unseen:?}");
    assert_eq!(outcome(&last), Outcome::Unverified);
    assert!(watched.blamed().is_empty() && watched.errors().is_empty());
}

/// Kafka Streams has groups of its own kind (KIP-1071); nothing is said of them, neither good nor bad.
fn streams(world: &World) {
    let name = "streams-app";
    let kafka = &world.kafka;
    kafka.create_topic(name, 1, &[]);
    // The first group of a broker has to wait for its coordinator.
    wait_for("it joins", Duration::from_secs(30), || (join_streams(&kafka.bootstrap(), name, name) == 0).then_some(()));
    let args = ["--bootstrap-server", &kafka.bootstrap(), "--list"];
    let listed = java::run("org.apache.kafka.tools.GroupsCommand", &args);
    let is_streams = |line: &str| line.starts_with(name) && line.contains("Streams");
    assert!(listed.lines().any(is_streams), "{listed}");
    world.watch.pass(3);
    let last = world.watch.last();
    assert!(group(&last, name).is_none());
    assert!(last.troubles.is_empty(), "{:?}", last.troubles);
}

/// A first heartbeat, version 0, and the error it is answered with: the client libraries at hand do not speak this
/// protocol.
fn join_streams(address: &str, group: &str, topic: &str) -> i16 {
    let mut request = Vec::new();
    let short = |out: &mut Vec<u8>, number: i16| out.extend(number.to_be_bytes());
    let int = |out: &mut Vec<u8>, number: i32| out.extend(number.to_be_bytes());
    // Compact: length and one, then the bytes; arrays likewise.
    let text = |out: &mut Vec<u8>, text: &str| {
        out.push(text.len() as u8 + 1);
        out.extend(text.as_bytes());
    };
    short(&mut request, 88);
    short(&mut request, 0);
    int(&mut request, 1);
    short(&mut request, -1); // no client id
    request.push(0); // no tags in the header
    text(&mut request, group);
    text(&mut request, "AAAAAAAAAAAAAAAAAAAAAQ");
    int(&mut request, 0); // epoch: joins
    int(&mut request, 0); // endpoints' epoch
    request.push(0); // no instance id
    request.push(0); // no rack
    int(&mut request, 60_000);
    request.push(1); // a topology follows
    int(&mut request, 0);
    request.push(2); // of one subtopology
    text(&mut request, "0");
    request.push(2); // one source topic
    text(&mut request, topic);
    // No patterns, changelogs, sinks, repartition sources, copartition groups; no tags of subtopology and topology.
    request.extend([1, 1, 1, 1, 1, 0, 0]);
    request.extend([1, 1, 1]); // no tasks yet
    text(&mut request, "process");
    request.push(0xff); // no endpoint
    request.extend([1, 0, 0]); // no client tags, nor offsets of tasks and of their ends
    request.extend([0, 0]); // no shutdown, no tags
    let mut stream = TcpStream::connect(address).expect("the broker listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("the limit is valid");
    stream.write_all(&(request.len() as i32).to_be_bytes()).expect("it takes bytes");
    stream.write_all(&request).expect("it takes bytes");
    let mut answer = [0; 4 + 4 + 1 + 4 + 2];
    stream.read_exact(&mut answer).expect("it answers");
    i16::from_be_bytes([answer[13], answer[14]])
}
