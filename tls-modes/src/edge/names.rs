use std::collections::HashMap;
use std::sync::Arc;

use crate::{NamePattern, ServerName};

/// What is served under which name: a snapshot that is replaced as a whole. An exact name wins over a wildcard, and
/// there is no default.
#[derive(Debug)]
pub(crate) struct Names<T> {
    exact: HashMap<Box<str>, Arc<T>>,
    /// By what comes after `*.`.
    wildcard: HashMap<Box<str>, Arc<T>>,
}

impl<T> Names<T> {
    pub(crate) fn find(&self, name: &ServerName) -> Option<&Arc<T>> {
        self.exact.get(name.as_str()).or_else(|| {
            let (_, base) = name.as_str().split_once('.')?;
            self.wildcard.get(base)
        })
    }

    pub(crate) fn insert(&mut self, pattern: &NamePattern, entry: Arc<T>) {
        self.map_mut(pattern).insert(pattern.name().as_str().into(), entry);
    }

    pub(crate) fn remove(&mut self, pattern: &NamePattern) {
        self.map_mut(pattern).remove(pattern.name().as_str());
    }

    pub(crate) fn get(&self, pattern: &NamePattern) -> Option<&Arc<T>> {
        let map = if pattern.is_wildcard() { &self.wildcard } else { &self.exact };
        map.get(pattern.name().as_str())
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Arc<T>> {
        self.exact.values().chain(self.wildcard.values())
    }

    fn map_mut(&mut self, pattern: &NamePattern) -> &mut HashMap<Box<str>, Arc<T>> {
        if pattern.is_wildcard() { &mut self.wildcard } else { &mut self.exact }
    }
}

impl<T> Clone for Names<T> {
    fn clone(&self) -> Self {
        Self { exact: self.exact.clone(), wildcard: self.wildcard.clone() }
    }
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new() }
    }
}
