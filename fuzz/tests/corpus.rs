//! Runs every fuzz body on its corpus, on the seeds that cut and bend that corpus, and on the empty input.
#![allow(missing_docs, reason = "a test")]

use std::path::Path;

/// Folders of the corpus that no target claims would never be run.
#[test]
fn every_corpus_folder_belongs_to_a_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let Ok(folders) = std::fs::read_dir(root) else { return };
    for folder in folders {
        let name = folder.unwrap().file_name().into_string().unwrap();
        assert!(adit_fuzz::TARGETS.iter().any(|(target, _)| *target == name), "no target named {name}");
    }
}

#[test]
fn every_target_holds_on_its_corpus() {
    let mut inputs = 0;
    for (name, body) in adit_fuzz::TARGETS {
        body(&[]);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|_| panic!("{name} has no corpus"));
        for entry in entries {
            let input = std::fs::read(entry.unwrap().path()).unwrap();
            inputs += 1;
            body(&input);
            // A byte less, and one bit off in eight places, so that the near misses are run on stable too.
            body(&input[..input.len().saturating_sub(1)]);
            for eighth in 0..8 {
                let mut bent = input.clone();
                let at = bent.len() * eighth / 8;
                if let Some(byte) = bent.get_mut(at) {
                    *byte ^= 1 << eighth;
                    body(&bent);
                }
            }
        }
    }
    println!("{} targets held on {inputs} inputs", adit_fuzz::TARGETS.len());
}
