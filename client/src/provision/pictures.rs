//! Pictures of what the browser showed, for a person who mends a recipe. Only
//! where asked for; only the owner may read them.

use std::path::{Path, PathBuf};

use tokio::time::{Duration, Instant};

use super::browser::{BrowserError, Page};
use crate::files;

const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// Where they go, if anywhere.
pub struct Pictures(Option<PathBuf>);

impl Pictures {
    /// Into this directory, which is made private.
    pub fn into_directory(directory: Option<&Path>) -> std::io::Result<Self> {
        if let Some(directory) = directory {
            files::private_directory(directory)?;
        }
        Ok(Self(directory.map(Path::to_owned)))
    }

    /// Takes one after a step.
    pub async fn take(&self, page: &Page, number: usize, name: &str) -> Result<Option<PathBuf>, BrowserError> {
        let Some(directory) = &self.0 else { return Ok(None) };
        let words: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
        let path = directory.join(format!("{number:02}-{words}.png"));
        files::write_private(&path, &patiently(page).await?)?;
        Ok(Some(path))
    }
}

/// Between two pages there is nothing to take a picture of.
async fn patiently(page: &Page) -> Result<Vec<u8>, BrowserError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match page.picture().await {
            Err(BrowserError::Refused { .. }) if Instant::now() + PAUSE < deadline => {
                tokio::time::sleep(PAUSE).await;
            }
            other => return other,
        }
    }
}
