//! Files that nobody but their owner may read.

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
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Writes a new file, closed to others from its first octet on.
pub(crate) fn write_private(path: &Path, octets: &[u8]) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(octets)?;
    file.sync_all()
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
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
