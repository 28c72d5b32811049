//! The configuration file's bytes, bounded, as a document.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::document::{Document, MAX_BYTES};
use super::error::{ConfigError, Origin, Warning};

/// Reads the file. The warning is for one that other users may change.
pub(super) fn read(path: &Path) -> Result<(Document, Option<Warning>), ConfigError> {
    let place = |line, column| Origin::File { path: Arc::new(path.to_path_buf()), line, column };
    let refuse = |message: String| ConfigError::new(place(0, 0), "", message);
    let file = File::open(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    let metadata = file.metadata().map_err(|error| refuse(format!("cannot be looked at: {error}")))?;
    if metadata.is_dir() {
        return Err(refuse("is a directory; name the file in it".to_owned()));
    }
    let loose = (metadata.is_file() && metadata.mode() & 0o022 != 0)
        .then(|| Warning::new(place(0, 0), "", "other users may change this file; run: chmod go-w on it"));
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| refuse(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(refuse("is larger than 1 MiB, which is no configuration".to_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column =
            String::from_utf8_lossy(good).rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        ConfigError::new(place(line, column), "", "is not UTF-8; save the file as UTF-8")
    })?;
    let document = Document::parse(text).map_err(|error| {
        let (line, column) = error.location.map_or((0, 0), |at| (at.line, at.column));
        ConfigError::new(place(line, column), "", error.message)
    })?;
    Ok((document, loose))
}
