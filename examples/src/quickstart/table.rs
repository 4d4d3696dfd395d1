//! The table that the quickstart prints, a row per check.

use crate::BoxError;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// What a check moved.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    /// Octets of payload, both ways together.
    pub(crate) bytes: u64,
}

/// The rows so far.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    outcome: Result<Moved, String>,
    took: Duration,
}

impl Table {
    /// Runs a check and keeps what came of it. A check that takes longer than a minute has failed.
    pub(crate) async fn row(
        &mut self,
        name: &'static str,
        check: impl Future<Output = Result<Moved, BoxError>>,
    ) {
        let begin = Instant::now();
        let outcome = match tokio::time::timeout(Duration::from_secs(60), check).await {
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
            Err(_) => Err("no end after 60 s".to_owned()),
        };
        let row = Row { name, outcome, took: begin.elapsed() };
        println!("{}", row.line());
        self.rows.push(row);
    }

    /// The line above the rows.
    pub(crate) fn heading() -> String {
        format!("{:<4} {:<44} {:>12} {:>10}", "", "what a visitor does", "octets", "time")
    }

    /// Whether every row holds.
    pub(crate) fn holds(&self) -> bool {
        self.rows.iter().all(|row| row.outcome.is_ok())
    }

    /// One line that counts the rows.
    pub(crate) fn summary(&self) -> String {
        let failed = self.rows.iter().filter(|row| row.outcome.is_err()).count();
        format!("{} rows hold, {failed} do not", self.rows.len() - failed)
    }
}

impl Row {
    fn line(&self) -> String {
        let mut line = String::new();
        let (mark, bytes) = match &self.outcome {
            Ok(moved) => ("ok", moved.bytes.to_string()),
            Err(_) => ("FAIL", "-".to_owned()),
        };
        let _ = write!(line, "{mark:<4} {:<44} {bytes:>12} {:>7} ms", self.name, self.took.as_millis());
        if let Err(error) = &self.outcome {
            let _ = write!(line, "\n     {error}");
        }
        line
    }
}
