//! One copy of each topic's name, however many groups commit to it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Default)]
pub struct Names {
    known: Mutex<HashSet<Arc<str>>>,
}

impl Names {
    pub fn get(&self, name: &str) -> Arc<str> {
        // A set of names is never left half-changed.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(name) {
            Some(name) => name.clone(),
            None => {
                let name: Arc<str> = Arc::from(name);
                known.insert(name.clone());
                name
            }
        }
    }

    /// Drops names nobody uses any more.
    pub fn tidy(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).retain(|name| Arc::strong_count(name) > 1);
    }
}
