//! The vectors that everybody can run.

use std::path::Path;

/// Those of a file, by its name.
pub(super) fn vectors(name: &str) -> Vec<serde_json::Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wire-proto/vectors");
    serde_json::from_str(&std::fs::read_to_string(folder.join(name)).unwrap()).unwrap()
}
