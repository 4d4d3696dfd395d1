//! Files that nobody but their owner may read.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Makes `folder`, with its parents, if it isn't there; closed to others where the system knows owners.
pub(crate) fn private_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Puts `octets` into the place of a file's content, at once or not at all; closed to others like a new one.
pub(crate) fn replace_private(path: &Path, octets: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    // What an interrupted attempt left behind.
    if new.exists() {
        std::fs::remove_file(&new)?;
    }
    write_private(&new, octets)?;
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// The same for what is of no use after a crash: whole or not at all for readers, and nothing waits for the disk.
pub(crate) fn publish_private(path: &Path, octets: &[u8]) -> io::Result<()> {
    path.parent().map_or(Ok(()), private_folder)?;
    let new = path.with_extension(format!("{}.new", std::process::id()));
    // What an interrupted attempt left behind, if one did.
    let _ = std::fs::remove_file(&new);
    create_private(&new)?.write_all(octets)?;
    std::fs::rename(new, path)
}

/// Writes a new file, closed to others from its first octet on.
pub(crate) fn write_private(path: &Path, octets: &[u8]) -> io::Result<()> {
    let mut file = create_private(path)?;
    file.write_all(octets)?;
    file.sync_all()
}

/// A new file, which nobody but its owner may open.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_replaced_file_is_closed_to_others_and_leaves_nothing_beside_it() {
        let folder = std::env::temp_dir().join(format!("adit-files-{}", std::process::id()));
        private_folder(&folder).unwrap();
        let path = folder.join("secret");
        write_private(&path, b"old").unwrap();
        std::fs::write(folder.join("secret.new"), b"of an interrupted attempt").unwrap();
        replace_private(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        publish_private(&path, b"newer").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"newer");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
