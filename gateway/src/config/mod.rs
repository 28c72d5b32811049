//! `broker.yaml` and the environment, read into typed settings. The only room
//! that knows serde_yaml.
//!
//! Built in, then the file, then the environment, then flags: the later layer
//! wins. [`table`] is the list of every key. Every error is reported at once,
//! with its place and its fix; none repeats a value, which might be a secret.

mod build;
pub mod data_dir;
mod document;
mod effective;
mod entries;
mod environment;
mod error;
mod overrides;
mod rate;
mod reference;
mod rules;
mod scalar;
pub mod secret;
pub mod settings;
mod source;
mod suggest;
pub mod table;
mod template;
#[cfg(test)]
mod tests;
mod url;
mod values;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use effective::{Effective, Row};
pub use environment::Environment;
pub use error::{ConfigError, Origin, Warning};
pub use reference::reference;
pub use settings::Settings;
pub use url::BaseUrl;

use data_dir::Places;
use document::{Document, Value};
use entries::{Entries, Site};

/// What the command line says about settings.
#[derive(Clone, Debug, Default)]
pub struct CliOverrides {
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
}

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// What to build from.
    pub settings: Settings,
    /// What works and should be known; for the log, at start.
    pub warnings: Vec<Warning>,
    /// Every key's value and origin; for `check`.
    pub effective: Effective,
}

impl Settings {
    /// Reads the layers. Touches no state: [`data_dir::prepare`] makes the
    /// directory, [`secret::DaemonKey::resolve`] reads the operator's key.
    pub fn load(
        file: Option<&Path>,
        environment: &Environment,
        overrides: &CliOverrides,
    ) -> Result<Loaded, Vec<ConfigError>> {
        Self::load_with(file, environment, overrides, &|_| Vec::new())
    }

    /// The same with a check of the caller's own, whose errors are reported with
    /// all others: what filters there are is known outside of this room.
    pub fn load_with(
        file: Option<&Path>,
        environment: &Environment,
        overrides: &CliOverrides,
        check: &dyn Fn(&Settings) -> Vec<ConfigError>,
    ) -> Result<Loaded, Vec<ConfigError>> {
        let mut entries = Entries::new();
        let mut warnings = Vec::new();
        if let Some(path) = file {
            // Without the file's text every other message would be a guess.
            let (document, loose) = source::read(path).map_err(|error| vec![error])?;
            warnings.extend(loose);
            entries.lay_file(document, Arc::new(path.to_path_buf()));
        }
        let mut notes = overrides::lay(&mut entries, environment);
        if let Some(data_dir) = &overrides.data_dir {
            match data_dir.to_str() {
                Some(path) => overrides::lay_flag(&mut entries, "data_dir", path, "--data-dir"),
                None => entries.problem(Site::Flag("--data-dir"), "data_dir", "is not UTF-8"),
            }
        }
        overrides::lay_platform(&mut entries, environment);
        entries.fill_defaults();

        let mut places = Places::new(file, environment);
        places.data_dir = read_data_dir(&mut entries, &places);
        let settings = build::build(&mut entries, &places, environment);
        if let Some(settings) = &settings {
            notes.extend(rules::check(settings, &mut entries));
        }
        let further = settings.as_ref().map(check).unwrap_or_default();
        let settings = match settings {
            Some(settings) if !entries.has_problems() && further.is_empty() => settings,
            _ => {
                let mut errors = entries.into_errors();
                errors.extend(further);
                return Err(errors);
            }
        };
        for (site, path, message) in notes {
            warnings.push(Warning::new(entries.origin(&site), path, message));
        }
        let effective = Effective::new(entries, &settings);
        Ok(Loaded { settings, warnings, effective })
    }
}

fn read_data_dir(entries: &mut Entries, places: &Places) -> PathBuf {
    let Some(entry) = entries.value("data_dir") else { return PathBuf::new() };
    match scalar::text(&entry.value, "a path").and_then(|path| places.expand(path)) {
        Ok(path) => path,
        Err(message) => {
            let site = entry.site.clone();
            entries.problem(site, "data_dir", message);
            PathBuf::new()
        }
    }
}

/// The value of a variable, in the shape that its key wants.
fn from_variable(text: &str, key: &table::Key) -> Result<Value, String> {
    use table::Kind;
    if key.nullable && text == "null" {
        return Ok(Value::Null);
    }
    let as_text = || Value::Text(text.to_owned());
    match key.kind {
        Kind::Integer(..) => Ok(text.parse().map_or_else(|_| as_text(), Value::Integer)),
        Kind::Flag => Ok(text.parse().map_or_else(|_| as_text(), Value::Bool)),
        Kind::List | Kind::Mappings | Kind::Named => {
            if text.trim_start().starts_with(['[', '{']) {
                return Document::parse(text.to_owned())
                    .map(|document| document.root.value)
                    .map_err(|error| error.message);
            }
            let items = text
                .split(',')
                .map(|item| document::Node { id: 0, value: overrides::short_item(item.trim(), key.kind) });
            Ok(Value::List(items.collect()))
        }
        _ => Ok(as_text()),
    }
}
