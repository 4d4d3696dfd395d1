//! What one measurement found, and how it travels from the child process to its parent.

use std::collections::BTreeMap;

/// Figures by name.
#[derive(Default)]
pub(crate) struct Outcome {
    figures: BTreeMap<String, f64>,
}

impl Outcome {
    pub(crate) fn with(mut self, name: &str, figure: f64) -> Self {
        self.figures.insert(name.to_owned(), figure);
        self
    }

    pub(crate) fn with_some(self, name: &str, figure: Option<f64>) -> Self {
        match figure {
            Some(figure) => self.with(name, figure),
            None => self,
        }
    }

    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        self.figures.get(name).copied()
    }

    /// One `name=figure` a line; what else a child prints is no figure.
    pub(crate) fn from_lines(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let figures = pairs.filter_map(|(name, figure)| Some((name.to_owned(), figure.parse().ok()?)));
        Self { figures: figures.collect() }
    }

    pub(crate) fn to_lines(&self) -> String {
        self.figures.iter().map(|(name, figure)| format!("{name}={figure}\n")).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.figures.is_empty()
    }
}
