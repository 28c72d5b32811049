//! The values of a recipe's names. Some are secret, so none is ever printed.

use std::collections::HashMap;

use secrecy::{ExposeSecret, SecretString};

use super::recipe::Template;

/// Names and values.
#[derive(Default)]
pub struct Values(HashMap<String, SecretString>);

impl Values {
    /// Gives a name its value.
    pub fn set(&mut self, name: &str, value: impl Into<SecretString>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// A name's value.
    pub fn secret(&self, name: &str) -> Option<&SecretString> {
        self.0.get(name)
    }

    /// A template's text.
    pub fn fill(&self, template: &Template) -> Result<String, String> {
        template.fill(|name| self.0.get(name).map(ExposeSecret::expose_secret))
    }
}
