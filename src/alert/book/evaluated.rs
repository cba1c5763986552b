//! What was really looked at in a round. Of everything else nothing is known, so nothing of it is resolved.

use rustc_hash::FxHashMap;

use crate::alert::glob;
use crate::alert::incident::Key;

#[derive(Clone, Debug, Default)]
pub struct Evaluated {
    kinds: Vec<String>,
    /// By group, the topics and partitions that could not be looked at.
    unknown: FxHashMap<Option<String>, Vec<Place>>,
}

/// A topic and a partition of it.
type Place = (Option<String>, Option<i32>);

impl Evaluated {
    /// All incidents of these kinds (globs) were looked at: `["lag-*", "unreachable"]`.
    pub fn kinds<T: Into<String>>(kinds: impl IntoIterator<Item = T>) -> Self {
        Self { kinds: kinds.into_iter().map(Into::into).collect(), unknown: FxHashMap::default() }
    }

    /// Nothing was: the part that observes is itself in trouble.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Leaves out what could not be looked at: a group, a topic, one partition. What is absent stands for all.
    pub fn except(&mut self, group: Option<&str>, topic: Option<&str>, partition: Option<i32>) {
        self.unknown.entry(group.map(str::to_owned)).or_default().push((topic.map(str::to_owned), partition));
    }

    /// Whether nothing under this key can have been overlooked.
    pub fn covers(&self, key: &Key) -> bool {
        if !glob::any(&self.kinds, &key.kind) {
            return false;
        }
        let touches = |places: &Vec<Place>| {
            places.iter().any(|(topic, partition)| {
                either(topic.as_deref(), key.topic.as_deref()) && either(*partition, key.partition)
            })
        };
        match &key.group {
            None => !self.unknown.values().any(touches),
            Some(_) => ![&key.group, &None].iter().filter_map(|group| self.unknown.get(*group)).any(touches),
        }
    }
}

fn either<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    }
}
