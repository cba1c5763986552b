//! Three brokers on 127.0.0.11, .12 and .13, for changes of leadership. Two of three down leave no quorum of controllers:
//! nothing is elected until one returns.

use std::net::Ipv4Addr;
use std::ops::Deref;
use std::path::PathBuf;

use crate::broker::{Listener, Node, Options};
use crate::client::Client;

#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    client: Client,
}

impl Cluster {
    /// Brokers 1 to `size`, each with its own controller.
    pub fn start(size: u32, options: &Options) -> Self {
        let node = |id: u32| Node::new(id, Ipv4Addr::new(127, 0, 0, 10 + id as u8), options.clone());
        let mut nodes: Vec<_> = (1..=size).map(node).collect();
        let voters: Vec<_> = nodes.iter().map(Node::voter).collect();
        std::thread::scope(|scope| nodes.iter().for_each(|node| drop(scope.spawn(|| node.format(&voters)))));
        nodes.iter_mut().for_each(Node::launch);
        nodes.iter().for_each(Node::wait_until_ready);
        let bootstrap: Vec<_> = nodes.iter().map(|node| node.address(Listener::Plaintext)).collect();
        Self { nodes, client: Client::new(bootstrap.join(",")) }
    }

    pub fn bootstrap(&self) -> String {
        self.nodes.iter().map(|node| node.address(Listener::Plaintext)).collect::<Vec<_>>().join(",")
    }

    /// Of one broker; ids begin at 1.
    pub fn address(&self, id: u32) -> String {
        self.node(id).address(Listener::Plaintext)
    }

    /// Ends a broker as a crash would.
    pub fn kill(&mut self, id: u32) {
        self.nodes[id as usize - 1].kill();
    }

    /// Starts a killed broker again and waits until it serves.
    pub fn restart(&mut self, id: u32) {
        let node = &mut self.nodes[id as usize - 1];
        node.launch();
        node.wait_until_ready();
    }

    /// The broker falls silent, its connections stay open.
    pub fn pause(&self, id: u32) {
        self.node(id).process().pause();
    }

    pub fn resume(&self, id: u32) {
        self.node(id).process().resume();
    }

    pub fn log_directory(&self, id: u32, topic: &str, partition: i32) -> PathBuf {
        self.node(id).log_directory(topic, partition)
    }

    fn node(&self, id: u32) -> &Node {
        &self.nodes[id as usize - 1]
    }
}

impl Deref for Cluster {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}
