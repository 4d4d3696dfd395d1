//! Structured logs, for all programs alike.

use tracing_subscriber::EnvFilter;

/// Writes logs to standard error, as lines for people or as JSON. `RUST_LOG` chooses what; `info` is the default.
pub fn start(json: bool) {
    write("info", json);
}

/// The same with `error` as the default, for a program whose output is a table.
pub fn start_quiet() {
    write("error", false);
}

fn write(default: &str, json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let logs =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if json {
        logs.json().init();
    } else {
        logs.with_ansi(false).init();
    }
}
