//! A look at a session-policy template at start, so that a broken one is an
//! error of the configuration and not a refused mint at night.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::exchange::SessionPolicy;

/// STS takes 2,048 characters after compaction; this leaves room for layout.
const MAX_BYTES: u64 = 16 * 1024;

/// Is it there, and a policy that keeps wallets apart?
pub(super) fn check(path: PathBuf) -> Result<PathBuf, String> {
    let text = read(&path).map_err(|error| format!("cannot be read at {}: {error}", path.display()))?;
    SessionPolicy::from_templates(&text, None).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(std::io::Error::other("it is larger than 16 KiB"));
    }
    Ok(text)
}
