//! Commits of open transactions in one partition of the log, held back until their marker. It does not know what a
//! commit is, nor who is told of it.
//!
//! As Kafka's coordinator does, a commit that is held is void as soon as a later record of the log decides the same key: a
//! plain commit, a tombstone, or a commit of a transaction that ended first. So what is let go never undoes something
//! newer.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;

struct Transaction<K> {
    first: i64,
    keys: HashSet<K>,
}

struct Held<V> {
    producer: i64,
    order: i64,
    value: V,
}

pub struct Pending<K, V> {
    /// What is held for each key, one by each producer: its last in the transaction.
    held: HashMap<K, Vec<Held<V>>>,
    transactions: HashMap<i64, Transaction<K>>,
    /// Producers by the first offset of their transaction: the one open for longest is given up first.
    by_age: BTreeMap<i64, i64>,
    most: usize,
    len: usize,
}

impl<K: Clone + Eq + Hash, V> Pending<K, V> {
    pub fn new(most: usize) -> Self {
        let (held, transactions) = (HashMap::new(), HashMap::new());
        Self { held, transactions, by_age: BTreeMap::new(), most, len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Holds a commit back; returns how many others had to be given up for it.
    pub fn hold(&mut self, producer: i64, key: K, order: i64, value: V) -> usize {
        let mut given_up = 0;
        while self.len >= self.most {
            let Some((_, oldest)) = self.by_age.first_key_value() else { break };
            given_up += self.forget(*oldest);
        }
        let transaction = self.transactions.entry(producer).or_insert_with(|| {
            self.by_age.insert(order, producer);
            Transaction { first: order, keys: HashSet::new() }
        });
        transaction.keys.insert(key.clone());
        let held = self.held.entry(key).or_default();
        match held.iter_mut().find(|held| held.producer == producer) {
            Some(held) => (held.order, held.value) = (order, value),
            None => {
                held.push(Held { producer, order, value });
                self.len += 1;
            }
        }
        given_up
    }

    /// A record at `order` decides the key: whatever was held for it before is void.
    pub fn overtake(&mut self, key: &K, order: i64) {
        let Some(held) = self.held.get_mut(key) else { return };
        let before = held.len();
        held.retain(|held| held.order > order);
        self.len -= before - held.len();
        if held.is_empty() {
            self.held.remove(key);
        }
    }

    /// The producer's transaction has ended: what it held and is not void, in the order of the log.
    pub fn end(&mut self, producer: i64) -> Vec<(K, i64, V)> {
        let Some(transaction) = self.transactions.remove(&producer) else { return Vec::new() };
        self.by_age.remove(&transaction.first);
        let mut let_go = Vec::new();
        for key in transaction.keys {
            let Some(held) = self.held.get_mut(&key) else { continue };
            if let Some(at) = held.iter().position(|held| held.producer == producer) {
                let Held { order, value, .. } = held.swap_remove(at);
                self.len -= 1;
                if held.is_empty() {
                    self.held.remove(&key);
                }
                let_go.push((key, order, value));
            }
        }
        let_go.sort_unstable_by_key(|(_, order, _)| *order);
        let_go
    }

    fn forget(&mut self, producer: i64) -> usize {
        self.end(producer).len()
    }

    /// Forgets everything from `end` on, which is no longer in the log.
    pub fn cut(&mut self, end: i64) {
        let cut = |held: &mut Vec<Held<V>>| {
            held.retain(|held| held.order < end);
            !held.is_empty()
        };
        self.held.retain(|_, held| cut(held));
        self.len = self.held.values().map(Vec::len).sum();
        self.transactions.retain(|_, transaction| transaction.first < end);
        self.by_age.retain(|first, _| *first < end);
    }

    /// Forgets everything; returns how much that was.
    pub fn clear(&mut self) -> usize {
        let len = self.len;
        *self = Self::new(self.most);
        len
    }
}
