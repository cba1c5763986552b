//! One connection to the broker, many requests on their way at once.

use std::io::{Error, Read as _, Result, Write as _};
use std::net::TcpStream;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

pub struct Connection {
    stream: TcpStream,
    request: BytesMut,
}

impl Connection {
    pub fn open(broker: &str) -> Result<Self> {
        let stream = TcpStream::connect(broker)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: BytesMut::new() })
    }

    /// Answers come in the order of the requests.
    pub fn send<Q: Encodable + HeaderVersion>(&mut self, key: ApiKey, version: i16, request: &Q) -> Result<()> {
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_client_id(Some(StrBytes::from_static_str("sordini-bench")));
        self.request.clear();
        self.request.extend_from_slice(&[0; 4]);
        header.encode(&mut self.request, Q::header_version(version)).map_err(Error::other)?;
        request.encode(&mut self.request, version).map_err(Error::other)?;
        let length = (self.request.len() - 4) as u32;
        self.request[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&self.request)
    }

    pub fn receive<A: Decodable + HeaderVersion>(&mut self, version: i16) -> Result<A> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut answer)?;
        let mut answer = Bytes::from(answer);
        ResponseHeader::decode(&mut answer, A::header_version(version)).map_err(Error::other)?;
        A::decode(&mut answer, version).map_err(Error::other)
    }

    pub fn call<Q, A>(&mut self, key: ApiKey, version: i16, request: &Q) -> Result<A>
    where
        Q: Encodable + HeaderVersion,
        A: Decodable + HeaderVersion,
    {
        self.send(key, version, request)?;
        self.receive(version)
    }
}
