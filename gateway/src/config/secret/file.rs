//! A secret in a file that its owner alone can read. Links are not followed,
//! and nothing but a regular file is opened for long enough to block.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{MAX_SECRET_BYTES, SecretError, finish};

pub(super) fn read(path: &Path) -> Result<SecretString, SecretError> {
    let refuse = |reason: String| SecretError::File { path: path.to_path_buf(), reason };
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file =
        OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path).map_err(|error| {
            refuse(match Errno::from_io_error(&error) {
                Some(Errno::LOOP) => "is a symbolic link; name the file itself".to_owned(),
                _ => format!("cannot be read: {error}"),
            })
        })?;
    let metadata = file.metadata().map_err(|error| refuse(format!("cannot be looked at: {error}")))?;
    if !metadata.is_file() {
        return Err(refuse("is no regular file".to_owned()));
    }
    let owner = metadata.uid();
    if owner != rustix::process::geteuid().as_raw() && owner != 0 {
        return Err(refuse("belongs to another user".to_owned()));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(refuse(format!(
            "has mode {mode:04o}, so others can read it; run: chmod 600 {}",
            path.display()
        )));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_SECRET_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| refuse(format!("cannot be read: {error}")))?;
    finish(bytes).map_err(|reason| refuse(reason.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn only_a_file_of_its_owner_is_read() {
        let temp = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8], mode: u32| {
            let path = temp.path().join(name);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let good = write("good", b"canary\n", 0o600);
        assert_eq!(read(&good).unwrap().expose_secret(), "canary");
        assert_eq!(read(&write("crlf", b"canary\r\n", 0o400)).unwrap().expose_secret(), "canary");
        let link = temp.path().join("link");
        symlink(&good, &link).unwrap();
        for (path, why) in [
            (write("group", b"canary", 0o640), "mode 0640, so others can read it; run: chmod 600"),
            (write("empty", b"\n", 0o600), "is empty"),
            (write("binary", b"canary\xff", 0o600), "is not UTF-8"),
            (write("large", &[b'c'; 65_537], 0o600), "larger than 64 KiB"),
            (link, "is a symbolic link"),
            (temp.path().to_path_buf(), "is no regular file"),
            (temp.path().join("absent"), "cannot be read"),
        ] {
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
