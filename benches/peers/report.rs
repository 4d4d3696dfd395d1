//! Tables, in Markdown, so that they read the same in a terminal and on a page.

use adit_benches::median;

use super::contestant::{CONTESTANTS, Contestant};
use super::options::Options;
use super::outcome::Outcome;
use super::scenario::{Column, SCENARIOS, Scenario};
use super::target::{Bound, TARGETS, Target};

/// All measurements of one scenario.
pub(crate) struct Table {
    pub(crate) scenario: &'static Scenario,
    pub(crate) rows: Vec<Row>,
}

/// All measurements of one contestant in one scenario.
pub(crate) struct Row {
    pub(crate) contestant: &'static str,
    pub(crate) cells: Vec<Cell>,
}

/// One measurement, or the reason why there is none.
pub(crate) type Cell = Result<Outcome, String>;

impl Table {
    fn row(&self, contestant: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.contestant == contestant)
    }

    /// The median of a figure over the reference's.
    fn ratio(&self, contestant: &str, reference: &str, key: &str) -> Option<f64> {
        Some(self.row(contestant)?.median(key)? / self.row(reference)?.median(key)?)
    }
}

impl Row {
    pub(crate) fn new(contestant: &'static str) -> Self {
        Self { contestant, cells: Vec::new() }
    }

    fn median(&self, key: &str) -> Option<f64> {
        median(&self.figures(key))
    }

    fn figures(&self, key: &str) -> Vec<f64> {
        self.cells.iter().flatten().filter_map(|outcome| outcome.figure(key)).collect()
    }

    /// Lowest and highest of a figure.
    fn spread(&self, column: &Column) -> String {
        let figures = self.figures(column.key);
        let (low, high) = (
            figures.iter().copied().fold(f64::INFINITY, f64::min),
            figures.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        );
        match figures.len() {
            0 | 1 => "–".to_owned(),
            _ => format!("{low:.0$}–{high:.0$}", column.decimals),
        }
    }

    /// Why there is no figure at all, or how many of the measurements failed.
    fn remark(&self) -> String {
        let mut reasons = self.cells.iter().filter_map(|cell| cell.as_ref().err());
        let failed = self.cells.iter().filter(|cell| cell.is_err()).count();
        match reasons.next() {
            None => String::new(),
            Some(reason) if failed == self.cells.len() => format!("no result: {reason}"),
            Some(reason) => format!("{failed} of {} without result: {reason}", self.cells.len()),
        }
    }
}

pub(crate) fn heading(options: &Options, contestants: &[&Contestant]) {
    println!(
        "# Multiplexers, {} workers, {} rounds of {:?}\n",
        options.workers, options.rounds, options.window
    );
    println!("Medians. Ratios (×) are to `{REFERENCE}` in the same run.\n");
    for contestant in contestants {
        println!("- `{}`: {}", contestant.name, contestant.about);
    }
}

pub(crate) fn table(table: &Table) {
    let Scenario { name, about, columns, .. } = *table.scenario;
    println!("\n## {name}: {about}\n");
    let titles = columns.iter().map(|column| match column.ratio {
        true => format!(" {} | × |", column.title),
        false => format!(" {} |", column.title),
    });
    println!("| contestant |{} lowest–highest | |", titles.collect::<String>());
    let rulers = columns.iter().map(|column| if column.ratio { "--:|--:|" } else { "--:|" });
    println!("|---|{}--:|---|", rulers.collect::<String>());
    for row in &table.rows {
        let cells = columns.iter().map(|column| cell(table, row, column));
        let spread = columns.first().map(|column| row.spread(column)).unwrap_or_default();
        println!("| {} |{} {spread} | {} |", row.contestant, cells.collect::<String>(), row.remark());
    }
}

/// The headline of every scenario by every contestant, as a ratio where it has one.
pub(crate) fn summary(tables: &[Table], contestants: &[&Contestant]) {
    println!("\n## Summary: the first figure of each scenario, as × {REFERENCE} where marked\n");
    let names = contestants.iter().map(|contestant| format!(" {} |", contestant.name));
    println!("| scenario |{}", names.collect::<String>());
    println!("|---|{}", "--:|".repeat(contestants.len()));
    for table in tables {
        let Some(column) = table.scenario.columns.first() else { continue };
        let mark = if column.ratio { " ×" } else { "" };
        let cells = contestants.iter().map(|contestant| match column.ratio {
            true => written(table.ratio(contestant.name, REFERENCE, column.key), 2),
            false => {
                written(table.row(contestant.name).and_then(|row| row.median(column.key)), column.decimals)
            }
        });
        println!("| {}, {}{mark} |{}", table.scenario.name, column.title, cells.collect::<String>());
    }
}

/// Where we stand against what we want to reach.
pub(crate) fn targets(tables: &[Table]) {
    let found: Vec<_> =
        TARGETS.iter().filter_map(|target| Some((target, reached(tables, target)?))).collect();
    if found.is_empty() {
        return;
    }
    println!("\n## Targets\n\n| what | target | found | |\n|---|--:|--:|---|");
    for (target, figure) in found {
        let (bound, is_met) = match target.bound {
            Bound::AtLeast(limit) => (format!("≥ {limit}"), figure >= limit),
            Bound::AtMost(limit) => (format!("≤ {limit}"), figure <= limit),
        };
        let verdict = if is_met { "reached" } else { "**missed**" };
        println!("| {} | {bound} | {figure:.2} | {verdict} |", target.what);
    }
}

pub(crate) fn list() {
    println!("scenarios:");
    for scenario in SCENARIOS {
        println!("  {:<12} {}", scenario.name, scenario.about);
    }
    println!("contestants:");
    for contestant in CONTESTANTS {
        println!("  {:<18} {}", contestant.name, contestant.about);
    }
}

fn reached(tables: &[Table], target: &Target) -> Option<f64> {
    let table = tables.iter().find(|table| table.scenario.name == target.scenario)?;
    match target.reference {
        Some(reference) => table.ratio(target.contestant, reference, target.key),
        None => table.row(target.contestant)?.median(target.key),
    }
}

fn cell(table: &Table, row: &Row, column: &Column) -> String {
    let figure = written(row.median(column.key), column.decimals);
    match column.ratio {
        true => format!("{figure}{}", written(table.ratio(row.contestant, REFERENCE, column.key), 2)),
        false => figure,
    }
}

pub(super) fn written(figure: Option<f64>, decimals: usize) -> String {
    match figure {
        Some(figure) => format!(" {figure:.decimals$} |"),
        None => " – |".to_owned(),
    }
}

/// What ratios are ratios to.
const REFERENCE: &str = "raw";
