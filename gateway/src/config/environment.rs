//! The environment as a value, so that nothing below reads the process's own
//! and tests need not share one. It holds secrets: it cannot be printed.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// Variables by name. An empty variable counts as unset, since that is what
/// compose files and unit files write for "none".
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, SecretString>,
}

impl Environment {
    /// The variables of this process. One that is not UTF-8 keeps its place with
    /// its bad bytes replaced, so that it is refused where it matters and not
    /// taken for unset.
    pub fn of_process() -> Self {
        Self::from_pairs(
            std::env::vars_os().map(|(name, value)| {
                (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
            }),
        )
    }

    /// These variables and no other.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let variables = pairs
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .filter(|(_, value): &(String, String)| !value.is_empty())
            .map(|(name, value)| (name, SecretString::from(value)))
            .collect();
        Self { variables }
    }

    /// The value of a variable that is no secret.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.expose_secret())
    }

    /// The value of a variable that is a secret.
    pub fn secret(&self, name: &str) -> Option<&SecretString> {
        self.variables.get(name)
    }

    /// Is it set and not empty?
    pub fn has(&self, name: &str) -> bool {
        self.variables.contains_key(name)
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}
