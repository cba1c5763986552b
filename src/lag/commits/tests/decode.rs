use proptest::prelude::*;
use uuid::Uuid;

use super::encode::{self, Member};
use crate::lag::commits::decode::{ClassicValue, CommitValue, DecodeError, Entry, decode};

fn commit_of<'a>(key: &'a [u8], value: &'a [u8]) -> CommitValue<'a> {
    match decode(Some(key), Some(value)) {
        Ok(Entry::Commit { group: "g", topic: "t", partition: 7, value: Some(value) }) => value,
        other => panic!("{other:?}"),
    }
}

const KEY_0: &[u8] = b"\0\0\0\x01g\0\x01t\0\0\0\x07";
const KEY_1: &[u8] = b"\0\x01\0\x01g\0\x01t\0\0\0\x07";
const TIME: i64 = 0x0000_018b_cfe5_6800;

#[test]
fn each_version_of_a_commit_reads_as_it_was_written_by_hand() {
    let plain = CommitValue {
        offset: 42,
        leader_epoch: None,
        metadata: b"m",
        commit_ms: TIME,
        expire_ms: None,
        topic_id: None,
    };
    let v0 = b"\0\0\0\0\0\0\0\0\0\x2a\0\x01m\0\0\x01\x8b\xcf\xe5\x68\0";
    let v1 = b"\0\x01\0\0\0\0\0\0\0\x2a\0\x01m\0\0\x01\x8b\xcf\xe5\x68\0\0\0\x01\x8b\xcf\xe5\x68\x01";
    let v2 = b"\0\x02\0\0\0\0\0\0\0\x2a\0\x01m\0\0\x01\x8b\xcf\xe5\x68\0";
    let v3 = b"\0\x03\0\0\0\0\0\0\0\x2a\0\0\0\x05\0\x01m\0\0\x01\x8b\xcf\xe5\x68\0";
    let v3_without_epoch = b"\0\x03\0\0\0\0\0\0\0\x2a\xff\xff\xff\xff\0\x01m\0\0\x01\x8b\xcf\xe5\x68\0";
    let v4 = b"\0\x04\0\0\0\0\0\0\0\x2a\0\0\0\x05\x02m\0\0\x01\x8b\xcf\xe5\x68\0\0";
    let v4_with_id = b"\0\x04\0\0\0\0\0\0\0\x2a\0\0\0\x05\x02m\0\0\x01\x8b\xcf\xe5\x68\0\
        \x01\0\x10\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10";
    assert_eq!(commit_of(KEY_0, v0), plain);
    assert_eq!(commit_of(KEY_1, v1), CommitValue { expire_ms: Some(TIME + 1), ..plain });
    assert_eq!(commit_of(KEY_1, v2), plain);
    assert_eq!(commit_of(KEY_1, v3), CommitValue { leader_epoch: Some(5), ..plain });
    assert_eq!(commit_of(KEY_1, v3_without_epoch), plain);
    assert_eq!(commit_of(KEY_1, v4), CommitValue { leader_epoch: Some(5), ..plain });
    let topic_id = Some(Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10));
    assert_eq!(commit_of(KEY_1, v4_with_id), CommitValue { leader_epoch: Some(5), topic_id, ..plain });
}

#[test]
fn a_tombstone_names_what_is_gone() {
    let gone = Entry::Commit { group: "g", topic: "t", partition: 7, value: None };
    assert_eq!(decode(Some(KEY_1), None), Ok(gone));
    assert_eq!(decode(Some(b"\0\x02\0\x01g"), None), Ok(Entry::Classic { group: "g", value: None }));
    assert_eq!(decode(Some(b"\0\x03\0\x01g"), None), Ok(Entry::Epoch { group: "g", value: None }));
    let left = Entry::Member { group: "g", member: "m", is_there: false };
    assert_eq!(decode(Some(b"\0\x05\0\x01g\0\x01m"), None), Ok(left));
}

/// The case that made Burrow read the time from the middle of the metadata: a length of two bytes.
#[test]
fn long_metadata_does_not_move_the_time() {
    for length in [0, 1, 126, 127, 128, 255, 256, 4096, 16_383, 20_000] {
        let metadata = vec![b'x'; length];
        let (topic_id, commit_ms) = (Some(Uuid::from_u128(9)), TIME);
        let value =
            encode::Commit { offset: 1, leader_epoch: 2, metadata: &metadata, commit_ms, expire_ms: -1, topic_id };
        for version in 0..=4 {
            let bytes = encode::commit(version, &value);
            let read = commit_of(KEY_1, &bytes);
            assert_eq!((read.metadata, read.commit_ms), (&metadata[..], TIME), "version {version}, {length} bytes");
        }
    }
}

#[test]
fn what_cannot_be_read_says_why() {
    let refused = |key: Option<&[u8]>, value: Option<&[u8]>| match decode(key, value) {
        Err(error) => (error.name(), error.to_string()),
        Ok(entry) => panic!("{entry:?}"),
    };
    assert_eq!(refused(None, None).0, "no-key");
    assert_eq!(refused(Some(b"\0"), None).0, "cut-off");
    assert_eq!(refused(Some(b"\0\x01\0\x09g"), None).1, "the key ends before the group does");
    assert_eq!(refused(Some(b"\0\x01\xff\xff"), None).1, "the key: the group has the length -1");
    assert_eq!(refused(Some(b"\0\x02\0\x01\xff"), None).0, "not-utf-8");
    assert_eq!(refused(Some(KEY_1), Some(b"\0\x05")).0, "unknown-version");
    assert_eq!(refused(Some(KEY_1), Some(b"\xff\xff")).0, "unknown-version");
    assert_eq!(refused(Some(b"\0\x02\0\x01g"), Some(b"\0\x05")).0, "unknown-version");
    assert_eq!(refused(Some(b"\0\x03\0\x01g"), Some(b"\0\x01\0\0\0\x05")).0, "unknown-version");
    let negative_metadata = b"\0\x03\0\0\0\0\0\0\0\x2a\0\0\0\x05\xff\xfem\0\0\x01\x8b\xcf\xe5\x68\0";
    assert_eq!(refused(Some(KEY_1), Some(negative_metadata)).0, "impossible-length");
    let many_members = b"\0\x03\0\0\0\0\0\x01\xff\xff\xff\xff\0\0\0\0\0\0\0\0\x7f\xff\xff\xff";
    assert_eq!(refused(Some(b"\0\x02\0\x01g"), Some(many_members)).0, "impossible-length");
    let long_tag = b"\0\x04\0\0\0\0\0\0\0\x2a\0\0\0\x05\x02m\0\0\x01\x8b\xcf\xe5\x68\0\x01\x09\xff\xff\xff\xff\x0f";
    assert_eq!(refused(Some(KEY_1), Some(long_tag)).0, "cut-off");
    let short_id = b"\0\x04\0\0\0\0\0\0\0\x2a\0\0\0\x05\x02m\0\0\x01\x8b\xcf\xe5\x68\0\x01\0\x02ab";
    assert_eq!(refused(Some(KEY_1), Some(short_id)).0, "impossible-length");
}

#[test]
fn other_records_are_passed_by() {
    for version in (4..20).filter(|&version| version != 5).chain([-1, i16::MAX]) {
        let key = encode::key(version, &["g"], None);
        assert_eq!(decode(Some(&key), Some(b"?")), Ok(Entry::Other { key_version: version }));
    }
}

#[test]
fn an_epoch_and_a_member_are_read() {
    let epoch = Entry::Epoch { group: "g", value: Some(9) };
    assert_eq!(decode(Some(b"\0\x03\0\x01g"), Some(b"\0\0\0\0\0\x09\0")), Ok(epoch));
    let member = Entry::Member { group: "g", member: "m", is_there: true };
    assert_eq!(decode(Some(b"\0\x05\0\x01g\0\x01m"), Some(b"whatever")), Ok(member));
}

fn members() -> impl Strategy<Value = Vec<Member>> {
    let member = ("[a-z]{0,200}", prop::option::of("[a-z]{0,9}"), prop::collection::vec(any::<u8>(), 0..200));
    let member = member.prop_map(|(id, instance, subscription)| Member { id, instance, subscription });
    prop::collection::vec(member, 0..5)
}

proptest! {
    #[test]
    fn what_is_written_is_read_and_no_less_of_it(
        version in 0i16..=4,
        (group, topic, partition) in ("\\PC{0,20}", "\\PC{0,20}", any::<i32>()),
        (offset, leader_epoch, commit_ms, expire_ms) in (any::<i64>(), -1i32..9, any::<i64>(), -1i64..9),
        metadata in prop::collection::vec(any::<u8>(), 0..300),
        topic_id in prop::option::of(any::<u128>()),
        cut in any::<prop::sample::Index>(),
    ) {
        let topic_id = topic_id.map(Uuid::from_u128);
        let written = encode::Commit { offset, leader_epoch, metadata: &metadata, commit_ms, expire_ms, topic_id };
        let (key, value) = (encode::key(1, &[&group, &topic], Some(partition)), encode::commit(version, &written));
        let expected = CommitValue {
            offset,
            leader_epoch: (version >= 3 && leader_epoch >= 0).then_some(leader_epoch),
            metadata: &metadata,
            commit_ms,
            expire_ms: (version == 1 && expire_ms >= 0).then_some(expire_ms),
            topic_id: topic_id.filter(|id| version == 4 && !id.is_nil()),
        };
        let expected = Entry::Commit { group: &group, topic: &topic, partition, value: Some(expected) };
        prop_assert_eq!(decode(Some(&key), Some(&value)), Ok(expected));
        prop_assert!(decode(Some(&key[..cut.index(key.len())]), Some(&value)).is_err());
        prop_assert!(decode(Some(&key), Some(&value[..cut.index(value.len())])).is_err());
    }

    #[test]
    fn a_group_says_its_generation_and_how_many_it_has(
        version in 0i16..=4,
        generation in any::<i32>(),
        members in members(),
        cut in any::<prop::sample::Index>(),
    ) {
        let key = encode::key(2, &["g"], None);
        let value = encode::group(version, generation, &members);
        let expected = ClassicValue { generation, members: members.len() as u32 };
        prop_assert_eq!(decode(Some(&key), Some(&value)), Ok(Entry::Classic { group: "g", value: Some(expected) }));
        // The tagged fields at the end of a flexible value are not looked at.
        let needed = value.len() - usize::from(version >= 4);
        let cut = decode(Some(&key), Some(&value[..cut.index(needed)]));
        let is_refused = matches!(cut, Err(DecodeError::CutOff { .. } | DecodeError::Length { .. }));
        prop_assert!(is_refused, "{:?}", cut);
    }

    #[test]
    fn any_bytes_are_refused_or_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        crate::lag::commits::fuzzing::check(&bytes);
    }
}
