//! Files that only the broker's user may read: written whole or not at all,
//! read only where nobody else could have read or replaced them.
//!
//! Never follows a symbolic link at the last step of a path, and never widens a
//! mode: a file that is too open is refused, with the command that closes it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};
use zeroize::Zeroizing;

use super::error::{FileError, KeyError};

/// The most that a key or a record may hold.
const LIMIT: u64 = 64 * 1024;

/// Makes the directory (0700) where it is missing, and refuses one that others may enter.
pub fn private_directory(path: &Path) -> Result<(), FileError> {
    match std::fs::DirBuilder::new().mode(0o700).recursive(true).create(path) {
        Ok(()) => {}
        Err(source) if source.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(io(path, source)),
    }
    check_directory(path)
}

/// Refuses a directory that is a link, not ours, or open to others.
pub fn check_directory(path: &Path) -> Result<(), FileError> {
    let found = std::fs::symlink_metadata(path).map_err(|source| io(path, source))?;
    if found.file_type().is_symlink() {
        return Err(FileError::SymbolicLink { path: path.to_owned() });
    }
    if !found.is_dir() {
        return Err(FileError::WrongKind { path: path.to_owned(), wanted: "directory" });
    }
    check_owner_and_mode(path, &found, 0o700)
}

/// Reads a whole private file.
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file =
        OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path).map_err(|source| {
            if source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
                FileError::SymbolicLink { path: path.to_owned() }
            } else {
                io(path, source)
            }
        })?;
    let found = file.metadata().map_err(|source| io(path, source))?;
    if !found.is_file() {
        return Err(FileError::WrongKind { path: path.to_owned(), wanted: "file" });
    }
    check_owner_and_mode(path, &found, 0o600)?;
    // Room for the whole file at once: a growing buffer would leave copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(LIMIT).unwrap_or(0) + 1));
    file.take(LIMIT + 1).read_to_end(&mut content).map_err(|source| io(path, source))?;
    if content.len() as u64 > LIMIT {
        return Err(FileError::TooLarge { path: path.to_owned(), limit: LIMIT });
    }
    Ok(content)
}

/// Writes a private file so that a reader, or a crash, sees the old content or
/// the new one and never a part.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let (mut file, temporary) = create_temporary(directory)?;
    let written = file
        .write_all(content)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&temporary, path))
        .and_then(|()| File::open(directory)?.sync_all());
    written.map_err(|source| {
        // The rename failed or never came; what is left is ours to remove.
        if let Err(left) = std::fs::remove_file(&temporary)
            && left.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %temporary.display(), error = %left, "a temporary key file could not be removed");
        }
        io(path, source)
    })
}

/// A lock that other processes see; it ends when the value is dropped.
pub fn lock(directory: &Path) -> Result<File, KeyError> {
    let path = directory.join(".lock");
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits() as i32)
        .open(&path)
        .map_err(|source| io(&path, source))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(KeyError::Busy { directory: directory.to_owned() }),
        Err(errno) => Err(io(&path, errno.into()).into()),
    }
}

/// Wraps an I/O error with its path.
pub fn io(path: &Path, source: std::io::Error) -> FileError {
    FileError::Io { path: path.to_owned(), source }
}

fn create_temporary(directory: &Path) -> Result<(File, PathBuf), FileError> {
    let mut random = [0u8; 8];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| io(directory, std::io::Error::other("the random source failed")))?;
    let path = directory.join(format!(".tmp-{:016x}", u64::from_be_bytes(random)));
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(flags.bits() as i32)
        .open(&path)
        .map_err(|source| io(&path, source))?;
    Ok((file, path))
}

fn check_owner_and_mode(path: &Path, found: &std::fs::Metadata, wanted: u32) -> Result<(), FileError> {
    let expected = rustix::process::geteuid().as_raw();
    if found.uid() != expected {
        return Err(FileError::ForeignOwner { path: path.to_owned(), owner: found.uid(), expected });
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FileError::LooseMode { path: path.to_owned(), mode, wanted });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn room() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        dir
    }

    #[test]
    fn what_is_written_is_private_and_reads_back() {
        let dir = room();
        let path = dir.path().join("a");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(read(&path).unwrap().as_slice(), b"two");
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["a"], "no temporary file is left");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_with_its_path_and_the_fix() {
        let dir = room();
        let path = dir.path().join("a");
        write_atomically(&path, b"x").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let said = read(&path).unwrap_err().to_string();
        assert!(said.contains(&format!("chmod 600 {}", path.display())), "{said}");
    }

    #[test]
    fn links_directories_and_fifos_are_not_read() {
        let dir = room();
        let real = dir.path().join("real");
        write_atomically(&real, b"x").unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert!(matches!(read(&link), Err(FileError::SymbolicLink { .. })));
        assert!(matches!(read(dir.path()), Err(FileError::WrongKind { .. })));
        let fifo = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
            .unwrap();
        assert!(matches!(read(&fifo), Err(FileError::WrongKind { .. })), "and it does not hang");
        let huge = dir.path().join("huge");
        write_atomically(&huge, &vec![b'x'; 70_000]).unwrap();
        assert!(matches!(read(&huge), Err(FileError::TooLarge { .. })));
    }

    #[test]
    fn a_directory_that_others_may_enter_is_refused() {
        let dir = room();
        let path = dir.path().join("keys");
        private_directory(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o750)).unwrap();
        let said = private_directory(&path).unwrap_err().to_string();
        assert!(said.contains("chmod 700"), "{said}");
    }

    #[test]
    fn a_lock_is_seen_by_a_second_holder() {
        let dir = room();
        let held = lock(dir.path()).unwrap();
        assert!(matches!(lock(dir.path()), Err(KeyError::Busy { .. })));
        drop(held);
        lock(dir.path()).unwrap();
    }
}
