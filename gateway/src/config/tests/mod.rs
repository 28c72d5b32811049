//! The configuration as an operator meets it: defaults, every error with its
//! place, the environment, and what must never be printed.

mod agreement;
mod environment;
mod errors;
mod secrecy;

use std::path::PathBuf;

use super::{CliOverrides, ConfigError, Environment, Loaded, Settings};

/// A home to start from, and the operator's key.
fn laptop() -> Vec<(&'static str, &'static str)> {
    vec![
        ("HOME", "/home/o"),
        ("BROKER_DAEMON_ACCESS_KEY_ID", "AKIACANARYCANARYCANA"),
        ("BROKER_DAEMON_SECRET_ACCESS_KEY", "canarycanarycanarycanarycanarycanarycana"),
    ]
}

fn load_with(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Vec<ConfigError>> {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("broker.yaml");
    std::fs::write(&path, text).unwrap();
    let environment = Environment::from_pairs(
        laptop().into_iter().chain(variables.iter().map(|(name, value)| (*name, *value))),
    );
    Settings::load(Some(&path), &environment, &CliOverrides::default()).map_err(|errors| {
        // The directory of this run is of no interest to an assertion.
        let dir = temp.path().display().to_string();
        errors
            .into_iter()
            .map(|mut error| {
                if let super::Origin::File { path, .. } = &mut error.origin {
                    *path = std::sync::Arc::new(PathBuf::from("broker.yaml"));
                }
                error.message = error.message.replace(&dir, "DIR");
                error
            })
            .collect()
    })
}

fn load(text: &str) -> Result<Loaded, Vec<ConfigError>> {
    load_with(text, &[])
}

fn said(text: &str) -> Vec<String> {
    load(text).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

fn from_environment(variables: &[(&str, &str)]) -> Result<Loaded, Vec<ConfigError>> {
    Settings::load(None, &Environment::from_pairs(variables.iter().copied()), &CliOverrides::default())
}
