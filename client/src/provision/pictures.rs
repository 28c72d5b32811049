//! Pictures of what the browser showed, for a person who mends a recipe. Only
//! where asked for; only the owner may read them.

use std::path::{Path, PathBuf};

use super::browser::{BrowserError, Page};
use crate::files;

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
        files::write_private(&path, &page.picture().await?)?;
        Ok(Some(path))
    }
}
