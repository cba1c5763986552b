//! Messages from librdkafka by the thousand: `rd_kafka_consume_batch_queue`, which the safe crate does not offer and
//! which costs half of a poll for every message. All unsafe code of the crate is here; nothing above it sees a pointer.
//!
//! What the safe interface keeps to: a [`Message`] lives no longer than the [`Messages`] that own it, and both no longer
//! than the queue, which keeps the consumer alive.

use std::ffi::{CStr, c_void};
use std::ptr;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as ffi;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;

/// The queue on which a consumer delivers the messages and errors of all its partitions.
pub struct BatchQueue<C: ConsumerContext> {
    queue: *mut ffi::rd_kafka_queue_t,
    /// Where librdkafka puts its messages; none is left in it between two calls.
    slots: Vec<*mut ffi::rd_kafka_message_t>,
    /// Released after the queue.
    consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: librdkafka's handles may be used from any thread, and the slots are empty whenever the value can be moved.
unsafe impl<C: ConsumerContext> Send for BatchQueue<C> {}

impl<C: ConsumerContext> BatchQueue<C> {
    /// `None` when the consumer has no queue: it was made without a group id.
    pub fn new(consumer: Arc<BaseConsumer<C>>) -> Option<Self> {
        // SAFETY: the consumer's handle is valid as long as the consumer, which is kept beside the queue.
        let queue = unsafe { ffi::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        (!queue.is_null()).then_some(Self { queue, slots: Vec::new(), consumer })
    }

    pub fn consumer(&self) -> &BaseConsumer<C> {
        &self.consumer
    }

    /// Waits until `most` messages are there or `wait` is over, and takes what is there.
    pub fn take(&mut self, most: usize, wait: Duration) -> Messages<'_> {
        self.slots.resize(most, ptr::null_mut());
        let wait_ms = wait.as_millis().try_into().unwrap_or(i32::MAX);
        // SAFETY: the queue is valid until it is destroyed on drop; `slots` has room for `most` pointers.
        let taken = unsafe { ffi::rd_kafka_consume_batch_queue(self.queue, wait_ms, self.slots.as_mut_ptr(), most) };
        // −1 says that the call itself failed, and nothing was taken.
        self.slots.truncate(usize::try_from(taken).unwrap_or(0));
        Messages { slots: &mut self.slots }
    }
}

impl<C: ConsumerContext> Drop for BatchQueue<C> {
    fn drop(&mut self) {
        // SAFETY: the reference was taken in `new` and is given back once; the consumer still lives.
        unsafe { ffi::rd_kafka_queue_destroy(self.queue) };
    }
}

/// Messages taken from the queue; given back to librdkafka on drop.
pub struct Messages<'q> {
    slots: &'q mut Vec<*mut ffi::rd_kafka_message_t>,
}

impl Messages<'_> {
    pub fn iter(&self) -> impl Iterator<Item = Message<'_>> {
        // SAFETY: librdkafka filled the slots with valid messages, which live until `drop` below.
        self.slots.iter().map(|&slot| Message { raw: unsafe { &*slot } })
    }
}

impl Drop for Messages<'_> {
    fn drop(&mut self) {
        for message in self.slots.drain(..) {
            // SAFETY: the message came from librdkafka, is owned here, and leaves the slots with this call.
            unsafe { ffi::rd_kafka_message_destroy(message) };
        }
    }
}

pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// A record, or an error about a partition or the whole client.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    raw: &'a ffi::rd_kafka_message_t,
}

impl<'a> Message<'a> {
    pub fn is_record(self) -> bool {
        self.raw.err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
    }

    /// What went wrong, with librdkafka's own words; `None` for a record.
    pub fn error(self) -> Option<(RDKafkaErrorCode, String)> {
        if self.is_record() {
            return None;
        }
        // SAFETY: for a message with an error librdkafka returns a string that lives as long as the message.
        let text = unsafe { text(ffi::rd_kafka_message_errstr(self.raw)) };
        Some((self.raw.err.into(), String::from_utf8_lossy(text).into_owned()))
    }

    /// Equal for messages of one topic while they are alive together: spares looking at the name.
    pub fn topic_handle(self) -> usize {
        self.raw.rkt as usize
    }

    /// Empty when an error concerns no topic.
    pub fn topic(self) -> &'a str {
        if self.raw.rkt.is_null() {
            return "";
        }
        // SAFETY: the message holds its topic, and the topic its name. Kafka's topic names are ASCII.
        let name = unsafe { text(ffi::rd_kafka_topic_name(self.raw.rkt)) };
        std::str::from_utf8(name).unwrap_or("")
    }

    pub fn partition(self) -> i32 {
        self.raw.partition
    }

    pub fn offset(self) -> i64 {
        self.raw.offset
    }

    /// Milliseconds since 1970, −1 when there is none.
    pub fn timestamp(self) -> i64 {
        // SAFETY: the message is valid; a null kind means that the caller does not ask for it.
        unsafe { ffi::rd_kafka_message_timestamp(self.raw, ptr::null_mut()) }
    }

    pub fn key(self) -> Option<&'a [u8]> {
        // SAFETY: in a message without an error key and key_len describe memory that the message owns.
        unsafe { bytes(self.raw.key, self.raw.key_len) }
    }

    pub fn value(self) -> Option<&'a [u8]> {
        // SAFETY: in a message without an error payload and len describe memory that the message owns.
        unsafe { bytes(self.raw.payload, self.raw.len) }
    }

    /// Appends the headers in their order. librdkafka ends a header's name at a NUL byte.
    pub fn headers(self, into: &mut Vec<Header<'a>>) {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is valid, and on success `headers` belongs to it.
        let found = unsafe { ffi::rd_kafka_message_headers(self.raw, &mut headers) };
        if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        for index in 0.. {
            let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
            // SAFETY: `headers` is valid as long as the message; past the last index the call fails and writes nothing.
            let found = unsafe { ffi::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut length) };
            if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            // SAFETY: on success both point into the headers, which live as long as the message.
            into.push(unsafe { (text(name), bytes(value, length)) });
        }
    }
}

/// # Safety
/// `text` is null or a string ended by NUL that lives for `'a`.
unsafe fn text<'a>(text: *const std::ffi::c_char) -> &'a [u8] {
    if text.is_null() {
        return b"";
    }
    // SAFETY: the caller says so.
    unsafe { CStr::from_ptr(text) }.to_bytes()
}

/// # Safety
/// `start` is null or points to `length` bytes that live for `'a`.
unsafe fn bytes<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller says so.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast(), length) })
}
