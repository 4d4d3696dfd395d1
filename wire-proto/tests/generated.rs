//! The generated Rust in `src/pb` is what the published `.proto` files say.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::path::Path;

/// With `ADIT_REGENERATE=1` in the environment, writes the file anew instead of comparing.
#[test]
fn generated_code_is_what_the_proto_files_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["adit/wire/v1/control.proto", "adit/wire/v1/refusal.proto", "adit/wire/v1/stream.proto"];
    let descriptors = protox::compile(files, [root.join("proto")]).unwrap();
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generated");
    std::fs::create_dir_all(&out).unwrap();
    prost_build::Config::new()
        .btree_map(["."])
        .bytes(["."])
        .skip_debug(["."])
        .out_dir(&out)
        .compile_fds(descriptors)
        .unwrap();
    let fresh = std::fs::read_to_string(out.join("adit.wire.v1.rs")).unwrap();
    let kept = root.join("src/pb/adit.wire.v1.rs");
    if std::env::var_os("ADIT_REGENERATE").is_some() {
        std::fs::write(&kept, &fresh).unwrap();
    }
    let kept = std::fs::read_to_string(kept).unwrap();
    assert!(kept == fresh, "run this test with ADIT_REGENERATE=1 and commit src/pb");
}
