//! Plays all scripts, and says how it went.

use super::player::{Failure, Player};
use super::script::Script;

/// How all scripts went.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// The names of those that passed.
    pub passed: Vec<String>,
    /// The names of those that failed, and why.
    pub failed: Vec<(String, Failure)>,
    /// The names of those that are for another carrier.
    pub skipped: Vec<String>,
}

/// Plays `scripts` one after the other, and prints a line for each and one for all.
pub async fn run(player: &Player, scripts: &[Script]) -> Report {
    let mut report = Report::default();
    for script in scripts {
        let Some(played) = player.play(script).await else {
            println!("skip  {} (for another carrier)", script.name);
            report.skipped.push(script.name.clone());
            continue;
        };
        match played {
            Ok(()) => {
                println!("ok    {} (SPEC {})", script.name, script.section);
                report.passed.push(script.name.clone());
            }
            Err(failure) => {
                println!("FAIL  {}: {failure}", script.name);
                report.failed.push((script.name.clone(), failure));
            }
        }
    }
    println!("{} passed, {} failed", report.passed.len(), report.failed.len());
    report
}
