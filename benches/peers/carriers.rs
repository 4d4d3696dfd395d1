//! Each carrier beside the bare library doing the same work, two by two.

use std::time::Instant;

use adit_benches::median;

use super::contestant::contestant;
use super::options::Options;
use super::outcome::Outcome;
use super::parent::measure;
use super::report::written;
use super::scenario::{Scenario, scenario};

/// Two contestants and what ours has to reach of the other's figure.
struct Match {
    ours: &'static str,
    bare: &'static str,
    aim: f64,
}

/// The figures of one match in one scenario, by round: ours and the other's.
struct Played {
    rate: Vec<(f64, f64)>,
    cpu: Vec<(f64, f64)>,
    failure: Option<String>,
}

/// Plays all matches in all scenarios and prints one table. A name with `--contestant` chooses the matches it is in.
pub(crate) fn table(options: &Options) {
    println!("# Carriers, {} workers, {} rounds of {:?}\n", options.workers, options.rounds, options.window);
    println!(
        "Medians of the ratios of rounds, ours over the other's; CPU is of both ends. Above 1: ours is quicker, or costs more.\n"
    );
    println!("| scenario | ours | beside | ours | beside | rate × | lowest–highest | CPU × | aim | |");
    println!("|---|---|---|--:|--:|--:|--:|--:|--:|---|");
    let begun = Instant::now();
    for scenario in PLAYED.iter().filter_map(|name| scenario(name)).filter(|it| is_chosen(options, it)) {
        for played in MATCHES.iter().filter(|played| is_wanted(options, played)) {
            row(scenario, played, &play(options, scenario, played));
        }
    }
    println!("\nTook {:.0} s.", begun.elapsed().as_secs_f64());
}

/// The two take turns in beginning, so that what changes on the machine meanwhile meets both.
fn play(options: &Options, scenario: &Scenario, played: &Match) -> Played {
    let mut found = Played { rate: Vec::new(), cpu: Vec::new(), failure: None };
    for round in 0..options.rounds {
        let mut names = [played.ours, played.bare];
        if round % 2 == 1 {
            names.reverse();
        }
        let outcomes = names.map(|name| {
            let contestant = contestant(name).ok_or_else(|| format!("no contestant {name}"))?;
            measure(options, scenario, contestant)
        });
        let [mut ours, mut bare] = outcomes;
        if round % 2 == 1 {
            std::mem::swap(&mut ours, &mut bare);
        }
        match (ours, bare) {
            (Ok(ours), Ok(bare)) => found.add(&ours, &bare),
            (Err(reason), _) | (_, Err(reason)) => found.failure = Some(reason),
        }
    }
    found
}

impl Played {
    fn add(&mut self, ours: &Outcome, bare: &Outcome) {
        let both = |keys: [&str; 2]| {
            let find = |outcome: &Outcome| keys.iter().find_map(|key| outcome.figure(key));
            find(ours).zip(find(bare))
        };
        self.rate.extend(both(["mib_s", "per_s"]));
        self.cpu.extend(both(["cpu_gib", "cpu_us"]));
    }
}

fn row(scenario: &Scenario, played: &Match, found: &Played) {
    let ratios = |pairs: &[(f64, f64)]| pairs.iter().map(|(ours, bare)| ours / bare).collect::<Vec<_>>();
    let (rates, cpu) = (ratios(&found.rate), ratios(&found.cpu));
    let one = |pick: fn(&(f64, f64)) -> f64| median(&found.rate.iter().map(pick).collect::<Vec<_>>());
    let spread = match rates.len() {
        0 => "–".to_owned(),
        _ => format!(
            "{:.2}–{:.2}",
            rates.iter().copied().fold(f64::INFINITY, f64::min),
            rates.iter().copied().fold(0.0, f64::max)
        ),
    };
    let verdict = match (median(&rates), &found.failure) {
        (_, Some(reason)) => reason.clone(),
        (Some(ratio), None) if ratio >= played.aim => "reached".to_owned(),
        (_, None) => "**missed**".to_owned(),
    };
    println!(
        "| {} | {} | {} |{}{}{} {spread} |{} ≥ {:.2} | {verdict} |",
        scenario.name,
        played.ours,
        played.bare,
        written(one(|pair| pair.0), 0),
        written(one(|pair| pair.1), 0),
        written(median(&rates), 2),
        written(median(&cpu), 2),
        played.aim,
    );
}

fn is_chosen(options: &Options, scenario: &Scenario) -> bool {
    options.scenarios.is_empty() || options.scenarios.iter().any(|part| scenario.name.contains(part.as_str()))
}

fn is_wanted(options: &Options, played: &Match) -> bool {
    let is_in = |name: &String| name == played.ours || name == played.bare;
    options.contestants.is_empty() || options.contestants.iter().any(is_in)
}

const PLAYED: &[&str] = &["bulk1-64k", "bulk32-64k", "ping1", "ping256", "open1", "open64"];

const MATCHES: &[Match] = &[
    Match { ours: "adit", bare: "adit-direct", aim: 1.0 },
    Match { ours: "adit-h2", bare: "h2-bare", aim: 0.95 },
    Match { ours: "adit-h2-chunks", bare: "h2-bare-chunks", aim: 0.95 },
    Match { ours: "adit-quic", bare: "quinn-bare", aim: 0.95 },
    Match { ours: "adit-ws", bare: "adit", aim: 0.85 },
    Match { ours: "adit-ws-tls", bare: "adit-tls", aim: 0.85 },
];
