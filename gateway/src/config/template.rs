//! A look at a session-policy template at start, so that a broken one is an
//! error with a line number and not a refused mint at night.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// STS takes 2,048 characters after compaction; this leaves room for layout.
const MAX_BYTES: u64 = 16 * 1024;

/// Is it there, JSON, and about one wallet?
pub(super) fn check(path: PathBuf) -> Result<PathBuf, String> {
    let text = read(&path).map_err(|error| format!("cannot be read at {}: {error}", path.display()))?;
    let policy: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| format!("{} is no JSON: line {}", path.display(), error.line()))?;
    if !policy.is_object() {
        return Err(format!("{} is no policy: it must be a JSON object", path.display()));
    }
    if !text.contains("${wallet}") {
        return Err(format!(
            "{} does not name ${{wallet}}, so it would not keep wallets apart",
            path.display()
        ));
    }
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
