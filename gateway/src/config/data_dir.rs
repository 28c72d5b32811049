//! Where files are: the data directory, and what relative paths start from.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::environment::Environment;

const NAME: &str = "agentkeys-broker";

/// What paths in a configuration start from.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub data_dir: PathBuf,
    /// The directory of the configuration file.
    pub file_dir: PathBuf,
    pub home: Option<PathBuf>,
}

impl Places {
    pub fn new(file: Option<&Path>, environment: &Environment) -> Self {
        Self {
            data_dir: PathBuf::new(),
            file_dir: file.and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default(),
            home: environment.text("HOME").map(PathBuf::from),
        }
    }

    /// A path of the broker's own state.
    pub fn state(&self, path: &str) -> PathBuf {
        self.data_dir.join(path)
    }

    /// A path of a file that the operator wrote.
    pub fn file(&self, path: &str) -> Result<PathBuf, String> {
        Ok(self.file_dir.join(self.expand(path)?))
    }

    /// `~` and `~/…` stand for `$HOME`.
    pub fn expand(&self, path: &str) -> Result<PathBuf, String> {
        match path.strip_prefix('~') {
            None => Ok(PathBuf::from(path)),
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                let home =
                    self.home.as_ref().ok_or("begins with '~' and HOME is not set; write a full path")?;
                Ok(home.join(rest.trim_start_matches('/')))
            }
            Some(_) => Err("begins with another user's '~'; write a full path".to_owned()),
        }
    }
}

/// The platform's own place, where nobody wrote `data_dir`.
pub(super) fn platform(environment: &Environment) -> Option<String> {
    if cfg!(target_os = "macos") {
        return Some(format!("~/Library/Application Support/{NAME}"));
    }
    // The XDG standard says to ignore a relative path.
    let base = environment.text("XDG_DATA_HOME").filter(|base| base.starts_with('/'))?;
    Some(format!("{}/{NAME}", base.trim_end_matches('/')))
}

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It could not be made or looked at.
    #[error("the data directory {path} cannot be used: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else has its name.
    #[error("the data directory {0} is no directory")]
    NotADirectory(PathBuf),
    /// Other users may enter it.
    #[error(
        "the data directory {path} has mode {mode:04o}, so other users may enter it; run: chmod 700 {path}"
    )]
    TooOpen {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It belongs to another user.
    #[error("the data directory {0} belongs to another user; run the broker as its owner")]
    NotOurs(PathBuf),
}

/// Makes the data directory, mode 0700, or makes sure that it is ours alone.
pub fn prepare(path: &Path) -> Result<(), DataDirError> {
    let failed = |source| DataDirError::Io { path: path.to_path_buf(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_dir() {
        return Err(DataDirError::NotADirectory(path.to_path_buf()));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(DataDirError::NotOurs(path.to_path_buf()));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(DataDirError::TooOpen { path: path.to_path_buf(), mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_made_for_its_owner_alone_and_refused_where_it_is_not() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/b");
        prepare(&path).unwrap();
        prepare(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o750)).unwrap();
        let error = prepare(&path).unwrap_err().to_string();
        assert!(error.contains("mode 0750") && error.contains("chmod 700"), "{error}");

        let file = temp.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(prepare(&file).is_err());
    }
}
