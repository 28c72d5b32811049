//! Files that only their owner may read, written whole or not at all.
//!
//! Nothing is ever created readable and narrowed afterwards, and a file that is
//! found looser than 0600 is refused, since its content may be known by then.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use zeroize::Zeroizing;

/// No file that is read here is larger; a bigger one is not ours.
const LIMIT: u64 = 1 << 20;

/// Makes a directory (and its parents) that only its owner may enter.
pub fn private_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Writes a file of mode 0600 by renaming a complete one into place.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    private_directory(directory)?;
    // NamedTempFile creates its file with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Reads a file that holds a secret; refuses one that others may read, that is
/// somebody else's, or that is not a plain file. `None` where there is none.
pub fn read_private(path: &Path) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let named = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !named.is_file() {
        return Err(refused(path, "is not a plain file"));
    }
    let mut file = File::open(path)?;
    // The open file is what counts: the name may have been replaced meanwhile.
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let metadata = file.metadata()?;
        if metadata.mode() & 0o077 != 0 {
            return Err(refused(path, "can be read by others: remove it and log in again, or chmod 600"));
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(refused(path, "belongs to another user"));
        }
    }
    let mut content = Zeroizing::new(Vec::new());
    Read::by_ref(&mut file).take(LIMIT).read_to_end(&mut content)?;
    Ok(Some(content))
}

fn refused(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("{} {why}", path.display()))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_0600_in_a_0700_directory_and_nothing_else_is_left() {
        let temp = tempfile::tempdir().unwrap();
        let directory = temp.path().join("a/b");
        let path = directory.join("secret");
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        assert_eq!(read_private(&path).unwrap().unwrap().as_slice(), b"two");
    }

    #[test]
    fn a_loose_file_or_a_link_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("secret");
        write_private(&path, b"one").unwrap();
        let link = temp.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(read_private(&link).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(read_private(&path).is_err());
        assert!(read_private(&temp.path().join("absent")).unwrap().is_none());
    }
}
