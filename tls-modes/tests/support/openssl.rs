//! The `openssl` program, where it is installed.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::PathBuf;
use std::process::Command;

/// The `openssl` program in a folder of its own.
pub(crate) struct OpenSsl {
    folder: PathBuf,
}

impl OpenSsl {
    pub(crate) fn find() -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            println!("skipped: openssl is not installed");
            return None;
        }
        Some(Self { folder: scratch("openssl") })
    }

    /// Panics with what it said if it fails.
    pub(crate) fn run(&self, arguments: &str) {
        self.run_with(&arguments.split(' ').collect::<Vec<_>>());
    }

    pub(crate) fn run_with(&self, arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).current_dir(&self.folder).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {}: {said}", arguments.join(" "));
    }

    /// Whether it succeeds.
    pub(crate) fn try_run(&self, arguments: &str) -> bool {
        let arguments = arguments.split(' ');
        Command::new("openssl").args(arguments).current_dir(&self.folder).output().unwrap().status.success()
    }

    /// Whether a request's signature is good. Until 3.2 or so the program ends well either way, and only says which.
    pub(crate) fn verifies_request(&self, form: &str, file: &str) -> bool {
        let arguments = ["req", "-inform", form, "-in", file, "-verify", "-noout"];
        let output = Command::new("openssl").args(arguments).current_dir(&self.folder).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        output.status.success() && String::from_utf8_lossy(&said).contains("verify OK")
    }

    pub(crate) fn write(&self, file: &str, content: &[u8]) {
        std::fs::write(self.folder.join(file), content).unwrap();
    }

    pub(crate) fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.folder.join(file)).unwrap()
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A new folder for one test.
pub(crate) fn scratch(purpose: &str) -> PathBuf {
    let thread = std::thread::current().name().unwrap_or("main").replace(':', "-");
    let folder = std::env::temp_dir().join(format!("adit-{purpose}-{}-{thread}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
