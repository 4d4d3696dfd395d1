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
