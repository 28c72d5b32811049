//! A site's steps as data: what to open, fill, click, await and read. A site
//! that moved a button is mended in a file, without a rebuild.
//!
//! The only file of the client that knows YAML. Everything is checked while it
//! is read; an error names the file, the line and the step.

mod check;
mod values;

use std::path::Path;

use agentkeys_core::scope::Service;
use serde::Deserialize;

pub use values::{Locator, Patience, Pattern, Template};

/// The recipes that come with the program.
const BUILT_IN: &[(&str, &str)] = &[("openrouter", include_str!("../../../../conf/recipes/openrouter.yaml"))];

/// One site's sign-up.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The service whose key it makes.
    pub service: Service,
    /// Names for templates, such as the site's address.
    #[serde(default)]
    pub names: Vec<Named>,
    /// The origins (scheme, host, port) that the browser may show while anything is typed or read.
    pub origins: Vec<Template>,
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// How the key is proved.
    pub verify: Vec<Verify>,
    /// Where it came from; for errors.
    #[serde(skip)]
    pub file: String,
    #[serde(skip)]
    lines: Vec<usize>,
}

/// A name and its value.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// One step: exactly one of the actions, and how patient to be.
#[derive(Debug, Deserialize)]
#[serde(try_from = "check::Written")]
pub struct Step {
    /// What a person calls it.
    pub name: String,
    /// What is done.
    pub action: Action,
    /// How long it may take.
    pub patience: Patience,
    /// May the element be missing?
    pub optional: bool,
    /// What a person may have to do meanwhile.
    pub person: Option<String>,
}

/// What a step does.
#[derive(Debug)]
pub enum Action {
    /// Opens an address.
    Open(Template),
    /// Waits until one of these can be seen.
    WaitFor(Vec<Locator>),
    /// Types into a field.
    Fill(Fill),
    /// Clicks.
    Click(Locator),
    /// Waits for a message and takes a code or a link from it.
    Mail(Mail),
    /// Reads a text from the page.
    Read(Read),
}

/// Typing into a field.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fill {
    /// The field.
    pub element: Locator,
    /// The text.
    pub text: Template,
}

/// Waiting for a message.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// The sender's address.
    pub from: Template,
    /// What its subject must contain.
    pub subject: Pattern,
    /// What to take from its text.
    pub find: Pattern,
    /// The name of what was found.
    pub save: String,
    /// Must the receiving server have found the sender genuine?
    #[serde(default = "yes")]
    pub authenticated: bool,
}

/// Reading from the page.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// The element.
    pub element: Locator,
    /// What to take from its value or text.
    pub find: Pattern,
    /// The name of what was found.
    pub save: String,
}

/// A request that must succeed with the key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// The address; the key goes along as a bearer token.
    pub get: Template,
}

fn yes() -> bool {
    true
}

/// A recipe that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// There is none.
    #[error("there is no recipe for {service}: neither {file}, nor with the program, which has {known}", known = names())]
    Unknown {
        /// The service that was asked for.
        service: String,
        /// Where one of the user's own would be.
        file: String,
    },
    /// The file cannot be read.
    #[error("cannot read {file}: {reason}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// What is in it is wrong.
    #[error("{file}:{line}: {reason}")]
    Wrong {
        /// The file.
        file: String,
        /// The line.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

impl Recipe {
    /// The recipe of a service: the file that is named, else the user's own under
    /// `own`, else the one that comes with the program.
    pub fn load(service: &Service, named: Option<&Path>, own: &Path) -> Result<Self, RecipeError> {
        if let Some(path) = named {
            return Self::read(path, service)?.ok_or_else(|| RecipeError::Unreadable {
                file: path.display().to_string(),
                reason: "there is no such file".to_owned(),
            });
        }
        let path = own.join(format!("{service}.yaml"));
        if let Some(recipe) = Self::read(&path, service)? {
            return Ok(recipe);
        }
        let known = BUILT_IN.iter().find(|(name, _)| *name == service.as_str());
        let (name, text) = known.ok_or_else(|| RecipeError::Unknown {
            service: service.to_string(),
            file: path.display().to_string(),
        })?;
        Self::parse(text, format!("conf/recipes/{name}.yaml"), service)
    }

    fn read(path: &Path, service: &Service) -> Result<Option<Self>, RecipeError> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, file, service).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RecipeError::Unreadable { file, reason: error.to_string() }),
        }
    }

    /// Reads and checks one.
    pub fn parse(text: &str, file: String, service: &Service) -> Result<Self, RecipeError> {
        let lines = check::lines_of_steps(text);
        let mut recipe: Self = serde_yaml::from_str(text).map_err(|error| {
            let line = error.location().map_or(1, |location| location.line());
            RecipeError::Wrong { file: file.clone(), line, reason: reason(&error, line, &lines) }
        })?;
        recipe.lines = lines;
        recipe.file = file;
        recipe.check(service)?;
        Ok(recipe)
    }

    /// `file:line: step N "name"`.
    pub fn place(&self, index: usize) -> String {
        let name = self.steps.get(index).map(|step| step.name.as_str()).unwrap_or_default();
        format!("{}:{}: step {} {name:?}", self.file, self.line(index), index + 1)
    }

    fn line(&self, index: usize) -> usize {
        self.lines.get(index).copied().unwrap_or(1)
    }
}

fn names() -> String {
    BUILT_IN.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// The parser's words without the place, which stands in front already, and the step.
fn reason(error: &serde_yaml::Error, line: usize, lines: &[usize]) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    match lines.iter().rposition(|start| *start <= line) {
        Some(index) if text.contains("steps") => format!("step {}: {text}", index + 1),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
