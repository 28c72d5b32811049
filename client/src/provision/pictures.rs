//! Pictures of what the browser showed, for a person who mends a recipe. Only
//! where asked for; only the owner may read them.

use std::path::{Path, PathBuf};

use tokio::time::{Duration, Instant};

use super::browser::{BrowserError, Page};
use super::recipe::{Action, Recipe};
use crate::files;

const PATIENCE: Duration = Duration::from_secs(10);
const ONE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);

const SECRET_FIELDS: &[&str] = &["input[type=password]", "input[autocomplete=one-time-code]"];

/// Where they go, if anywhere.
pub struct Pictures {
    directory: Option<PathBuf>,
    covered: Vec<String>,
}

impl Pictures {
    /// Into this directory, which is made private. What a recipe reads (the key)
    /// is covered, before it is read too, and so is every password and code.
    pub fn into_directory(directory: Option<&Path>, recipe: &Recipe) -> std::io::Result<Self> {
        if let Some(directory) = directory {
            files::private_directory(directory)?;
        }
        let read = recipe.steps.iter().filter_map(|step| match &step.action {
            Action::Read(read) => Some(read.element.css.clone()),
            _ => None,
        });
        let covered = read.chain(SECRET_FIELDS.iter().map(ToString::to_string)).collect();
        Ok(Self { directory: directory.map(Path::to_owned), covered })
    }

    /// Takes one after a step.
    pub async fn take(
        &self,
        page: &Page,
        number: usize,
        name: &str,
    ) -> Result<Option<PathBuf>, BrowserError> {
        let Some(directory) = &self.directory else { return Ok(None) };
        let words: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .collect();
        let path = directory.join(format!("{number:02}-{words}.png"));
        files::write_private(&path, &self.patiently(page).await?)?;
        Ok(Some(path))
    }

    /// Between two pages there is nothing to take a picture of: Chrome refuses, or
    /// never answers.
    async fn patiently(&self, page: &Page) -> Result<Vec<u8>, BrowserError> {
        let covered: Vec<&str> = self.covered.iter().map(String::as_str).collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let reason = match tokio::time::timeout(ONE, page.picture(&covered)).await {
                Err(_) => BrowserError::Silent("a picture"),
                Ok(Err(error @ BrowserError::Refused { .. })) => error,
                Ok(other) => return other,
            };
            if Instant::now() + PAUSE > deadline {
                return Err(reason);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
