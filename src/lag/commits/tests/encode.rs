//! Writes records of `__consumer_offsets` after Kafka's message schemas, field by field and version by version. It shares
//! nothing with the decoder.

use uuid::Uuid;

#[derive(Clone, Debug)]
pub struct Member {
    pub id: String,
    pub instance: Option<String>,
    pub subscription: Vec<u8>,
}

fn string(out: &mut Vec<u8>, text: Option<&[u8]>, is_flexible: bool) {
    match (text, is_flexible) {
        (None, true) => out.push(0),
        (None, false) => out.extend((-1i16).to_be_bytes()),
        (Some(text), true) => {
            unsigned(out, text.len() as u32 + 1);
            out.extend(text);
        }
        (Some(text), false) => {
            out.extend((text.len() as i16).to_be_bytes());
            out.extend(text);
        }
    }
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8], is_flexible: bool) {
    match is_flexible {
        true => unsigned(out, bytes.len() as u32 + 1),
        false => out.extend((bytes.len() as i32).to_be_bytes()),
    }
    out.extend(bytes);
}

fn unsigned(out: &mut Vec<u8>, value: u32) {
    if value < 128 {
        out.push(value as u8);
    } else {
        out.push((value % 128) as u8 + 128);
        unsigned(out, value / 128);
    }
}

pub fn key(version: i16, names: &[&str], partition: Option<i32>) -> Vec<u8> {
    let mut out = version.to_be_bytes().to_vec();
    names.iter().for_each(|name| string(&mut out, Some(name.as_bytes()), false));
    out.extend(partition.iter().flat_map(|partition| partition.to_be_bytes()));
    out
}

pub struct Commit<'a> {
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: &'a [u8],
    pub commit_ms: i64,
    pub expire_ms: i64,
    pub topic_id: Option<Uuid>,
}

pub fn commit(version: i16, value: &Commit<'_>) -> Vec<u8> {
    let is_flexible = version >= 4;
    let mut out = version.to_be_bytes().to_vec();
    out.extend(value.offset.to_be_bytes());
    if version >= 3 {
        out.extend(value.leader_epoch.to_be_bytes());
    }
    string(&mut out, Some(value.metadata), is_flexible);
    out.extend(value.commit_ms.to_be_bytes());
    if version == 1 {
        out.extend(value.expire_ms.to_be_bytes());
    }
    match value.topic_id {
        _ if !is_flexible => {}
        None => out.push(0),
        Some(id) => {
            // Two fields: an unknown one of 200 bytes with tag 300 behind the topic id.
            out.extend([2, 0, 16]);
            out.extend(id.as_bytes());
            out.extend([0xac, 0x02, 0xc8, 0x01]);
            out.extend([7; 200]);
        }
    }
    out
}

pub fn group(version: i16, generation: i32, members: &[Member]) -> Vec<u8> {
    let is_flexible = version >= 4;
    let mut out = version.to_be_bytes().to_vec();
    string(&mut out, Some(b"consumer"), is_flexible);
    out.extend(generation.to_be_bytes());
    string(&mut out, members.first().map(|_| &b"range"[..]), is_flexible);
    string(&mut out, members.first().map(|member| member.id.as_bytes()), is_flexible);
    if version >= 2 {
        out.extend(1_700_000_000_000i64.to_be_bytes());
    }
    match is_flexible {
        true => unsigned(&mut out, members.len() as u32 + 1),
        false => out.extend((members.len() as i32).to_be_bytes()),
    }
    for member in members {
        string(&mut out, Some(member.id.as_bytes()), is_flexible);
        if version >= 3 {
            string(&mut out, member.instance.as_ref().map(String::as_bytes), is_flexible);
        }
        string(&mut out, Some(b"client"), is_flexible);
        string(&mut out, Some(b"/127.0.0.1"), is_flexible);
        if version >= 1 {
            out.extend(300_000i32.to_be_bytes());
        }
        out.extend(45_000i32.to_be_bytes());
        bytes(&mut out, &member.subscription, is_flexible);
        bytes(&mut out, &[1, 2, 3], is_flexible);
        if is_flexible {
            out.push(0);
        }
    }
    if is_flexible {
        out.push(0);
    }
    out
}
