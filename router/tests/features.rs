//! The page of features names tests that exist.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::fs;
use std::path::Path;

#[test]
fn every_test_that_the_page_of_features_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("FEATURES.md")).unwrap();
    // Two columns of tests: those of libraries, and those of the programs made of them. A package of this crate alone has ours.
    let libraries = ["src", "tests", "../naming", "../errors", "../tls-modes"];
    for (column, folders, at_least) in [(3, &libraries[..], 50), (4, &["../examples/tests"], 30)] {
        let folders: Vec<_> = folders.iter().map(|folder| root.join(folder)).collect();
        if !folders.iter().all(|folder| folder.exists()) {
            continue;
        }
        let mut sources = String::new();
        folders.iter().for_each(|folder| read_all(folder, &mut sources));
        let mut named = 0;
        for row in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| **")) {
            let cells: Vec<_> = row.split('|').collect();
            assert_eq!(cells.len(), 6, "{row}");
            for test in cells[column].split('`').skip(1).step_by(2) {
                assert!(sources.contains(&format!("fn {test}(")), "there is no test {test}");
                named += 1;
            }
        }
        assert!(named > at_least, "column {column} has {named} tests");
    }
}

/// The numbered cases of hostile input that are about routing, access, webhooks, budgets and names that change hands.
#[test]
fn every_numbered_case_is_in_the_name_of_a_test_or_said_to_be_another_crates() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    ["src", "tests"].iter().for_each(|folder| read_all(&root.join(folder), &mut sources));
    let names: Vec<_> = sources.split("fn ").skip(1).filter_map(|rest| rest.split('(').next()).collect();
    let cases = [('r', 30), ('a', 17), ('g', 25), ('b', 20)].map(|(letter, last)| (letter, 1, last));
    for (letter, first, last) in cases.into_iter().chain([('n', 13, 13)]) {
        for number in first..=last {
            let case = format!("{letter}{number:02}");
            let is_here = names.iter().any(|name| name.split('_').any(|word| word == case));
            let is_elsewhere = UNUSED.contains(&&*case) || ELSEWHERE.contains(&&*case);
            assert!(is_here != is_elsewhere, "{case}");
        }
    }
}

/// Numbers that no case has.
const UNUSED: [&str; 4] = ["r05", "r06", "a03", "g18"];

/// Targets are the agent's and `adit-naming`'s, whose tests have this number.
const ELSEWHERE: [&str; 1] = ["r25"];

fn read_all(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, into);
        } else {
            into.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}
