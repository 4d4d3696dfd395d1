//! A folder of small JSON documents, closed to others: each is replaced at once or not at all.
//!
//! What a document was when it was put down is what is found after a crash, the one before or the new one. A document that
//! can't be read is an error at the start: nothing is left out in silence.

use crate::{BoxError, files};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};

/// The longest document: a tunnel with all the shares and metadata that it may have takes less.
const MAX_DOCUMENT_BYTES: u64 = 4 * 1024 * 1024;

/// The most documents of one folder.
const MAX_DOCUMENTS: usize = 100_000;

/// How a document's file name ends; one that is being written ends otherwise.
const ENDING: &str = "json";

/// One folder.
#[derive(Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
}

impl Shelf {
    /// Opens the folder `name` in that of the gateway's state, and reads what is there: each document with its key.
    ///
    /// # Errors
    /// What can't be read or understood, with the file's name: it is for the person who starts the gateway.
    pub(super) fn open<D: DeserializeOwned>(
        state: &Path,
        name: &str,
    ) -> Result<(Self, Vec<(String, D)>), BoxError> {
        let folder = state.join(name);
        files::private_folder(&folder)?;
        let mut all = Vec::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let key = path.file_stem().and_then(|key| key.to_str()).map(str::to_owned);
            let Some(key) = key.filter(|_| path.extension().is_some_and(|end| end == ENDING)) else {
                continue;
            };
            let document = read(&path).map_err(|error| format!("{} is damaged: {error}", path.display()))?;
            all.push((key, document));
            if all.len() > MAX_DOCUMENTS {
                return Err(format!("{} has more than {MAX_DOCUMENTS} documents", folder.display()).into());
            }
        }
        Ok((Self { folder }, all))
    }

    /// Puts a document down, in the place of the one of the same key.
    ///
    /// # Errors
    /// Those of the file system; the one before stays then.
    pub(super) fn put(&self, key: &str, document: &impl Serialize) -> io::Result<()> {
        let octets = serde_json::to_vec(document).map_err(io::Error::other)?;
        if u64::try_from(octets.len()).map_or(true, |length| length > MAX_DOCUMENT_BYTES) {
            return Err(io::Error::other("the document is too long"));
        }
        files::replace_private(&self.path(key), &octets)
    }

    /// Takes a document away, if it is there.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn remove(&self, key: &str) -> io::Result<()> {
        match std::fs::remove_file(self.path(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => std::fs::File::open(&self.folder)?.sync_all(),
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.{ENDING}"))
    }
}

fn read<D: DeserializeOwned>(path: &Path) -> Result<D, BoxError> {
    if std::fs::metadata(path)?.len() > MAX_DOCUMENT_BYTES {
        return Err("it is too long".into());
    }
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_down_is_found_and_what_is_damaged_is_no_silent_loss() {
        let state = std::env::temp_dir().join(format!("adit-shelf-{}", std::process::id()));
        let open = || Shelf::open::<Vec<u32>>(&state, "numbers");
        let (shelf, all) = open().unwrap();
        assert!(all.is_empty());
        shelf.put("one", &vec![1]).unwrap();
        shelf.put("two", &vec![2]).unwrap();
        shelf.put("two", &vec![2, 2]).unwrap();
        shelf.remove("one").unwrap();
        shelf.remove("one").unwrap();
        assert_eq!(open().unwrap().1, [("two".to_owned(), vec![2, 2])]);
        // What was being written when the machine stopped isn't there yet.
        std::fs::write(state.join("numbers/three.new"), b"[3").unwrap();
        assert_eq!(open().unwrap().1.len(), 1);
        std::fs::write(state.join("numbers/two.json"), b"[2, 2").unwrap();
        assert!(open().unwrap_err().to_string().contains("two.json is damaged"));
        assert!(shelf.put("long", &"x".repeat(5 * 1024 * 1024)).is_err());
        std::fs::remove_dir_all(&state).unwrap();
    }
}
