//! Adds a `credential_process` to the AWS config file and takes it out again.
//!
//! What is added stands between two marker lines; every other byte of the file
//! stays as it is. A profile that already says where its credentials come from
//! is refused, since an SDK would then choose silently.

mod text;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use text::{ConfigError, Entry, add, remove};

use crate::settings::Variables;

/// The config file of the SDKs: `AWS_CONFIG_FILE`, else `~/.aws/config`.
pub fn path(variables: Variables) -> Option<PathBuf> {
    file("AWS_CONFIG_FILE", "config", variables)
}

/// The credentials file, whose keys an SDK prefers to a `credential_process`.
pub fn credentials_path(variables: Variables) -> Option<PathBuf> {
    file("AWS_SHARED_CREDENTIALS_FILE", "credentials", variables)
}

fn file(variable: &str, name: &str, variables: Variables) -> Option<PathBuf> {
    match variables(variable).filter(|path| !path.is_empty()) {
        Some(path) => Some(PathBuf::from(path)),
        None => {
            let home = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
            let home = variables(home).filter(|h| !h.is_empty()).map(PathBuf::from);
            Some(home.or_else(std::env::home_dir)?.join(".aws").join(name))
        }
    }
}

/// The file's text; empty where there is no file.
pub fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces the file's text, whole or not at all; a link stays a link and the
/// mode stays what it was.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let directory = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    if let Ok(metadata) = fs::metadata(&target) {
        file.as_file().set_permissions(metadata.permissions())?;
    }
    file.as_file().sync_all()?;
    file.persist(&target).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests;
