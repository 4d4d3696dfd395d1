//! Prints what a machine does in every state with every event, as the specification shows it.

use crate::CloseCode;

/// A row for each event, a column for each state.
pub(crate) fn table(events: &[&str], states: &[&str], cell: impl Fn(usize, usize) -> String) -> String {
    let mut rows = vec![std::iter::once("").chain(states.iter().copied()).map(str::to_owned).collect()];
    for (at, event) in events.iter().enumerate() {
        let cells = (0..states.len()).map(|state| cell(at, state));
        rows.push(std::iter::once((*event).to_owned()).chain(cells).collect::<Vec<_>>());
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..=states.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join(" | ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The state that follows; or the code that the session ends with; or `-` for a command that was refused.
pub(crate) fn cell(result: Result<(), CloseCode>, state: &str) -> String {
    match result {
        Ok(()) => state.to_owned(),
        Err(CloseCode::INTERNAL) => "-".to_owned(),
        Err(code) => code.to_string(),
    }
}
