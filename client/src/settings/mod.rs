//! Settings: flag > environment > file > default, each with where it came from.
//!
//! The process environment is handed in, never read here, so that tests need
//! not share one. [`table::SETTINGS`] is the list that the documentation shows.

mod broker_url;
pub mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use agentkeys_core::duration;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

pub use broker_url::{BrokerUrl, InvalidBrokerUrl};

use crate::identity::Identity;

/// Where variables are looked up: `|name| std::env::var(name).ok()` in `main`.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The flags that every command takes.
#[derive(Args, Clone, Debug, Default)]
pub struct Flags {
    /// The broker [env: AGENTKEYS_BROKER_URL]
    #[arg(long, global = true, value_name = "URL", help_heading = "Global options")]
    pub broker_url: Option<String>,
    /// Which of several sessions at one broker [env: AGENTKEYS_IDENTITY]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    pub identity: Option<String>,
    /// Also trust the certificate authorities in this PEM file [env: AGENTKEYS_CA_FILE]
    #[arg(long, global = true, value_name = "PATH", help_heading = "Global options")]
    pub ca_file: Option<PathBuf>,
    /// Where settings and files are kept [env: AGENTKEYS_HOME; default: ~/.agentkeys]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub home: Option<PathBuf>,
    /// Where secrets are kept [env: AGENTKEYS_SESSION_STORE]
    #[arg(long, global = true, value_enum, help_heading = "Global options")]
    pub session_store: Option<StoreChoice>,
    /// Allow http:// to a broker on another machine: the token travels in the clear
    /// [env: AGENTKEYS_INSECURE_PLAIN_HTTP]
    #[arg(long, global = true, help_heading = "Global options")]
    pub insecure_plain_http: bool,
}

/// Where secrets are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreChoice {
    /// The system's keychain, or a file where there is none.
    #[default]
    Auto,
    /// The system's keychain or nothing.
    Keychain,
    /// A file of mode 0600.
    File,
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The command line.
    Flag,
    /// A variable.
    Environment,
    /// `config.toml`.
    File,
    /// Nobody said.
    Default,
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub source: Source,
}

/// The effective settings.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Where settings and files are kept.
    pub home: Sourced<PathBuf>,
    /// The broker, where somebody named one.
    pub broker_url: Sourced<Option<BrokerUrl>>,
    /// The identity, where somebody named one.
    pub identity: Sourced<Option<Identity>>,
    /// More certificate authorities.
    pub ca_file: Sourced<Option<PathBuf>>,
    /// Where secrets are kept.
    pub session_store: Sourced<StoreChoice>,
    /// Is http:// to another machine allowed?
    pub insecure_plain_http: Sourced<bool>,
    /// How long a connection may take.
    #[serde(serialize_with = "as_text")]
    pub connect_timeout: Sourced<Duration>,
    /// How long an operation may take, retries included.
    #[serde(serialize_with = "as_text")]
    pub timeout: Sourced<Duration>,
}

/// A setting cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A value is not one.
    #[error("{name} ({source_name}): {reason}")]
    Invalid {
        /// The setting.
        name: &'static str,
        /// Where the value came from, as a person would name it.
        source_name: String,
        /// What is wrong.
        reason: String,
    },
    /// There is no place for files.
    #[error("no home directory is known; set AGENTKEYS_HOME")]
    NoHome,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    broker_url: Option<String>,
    identity: Option<String>,
    ca_file: Option<PathBuf>,
    session_store: Option<String>,
    insecure_plain_http: Option<bool>,
    connect_timeout: Option<String>,
    timeout: Option<String>,
}

impl Settings {
    /// Resolves every setting.
    pub fn resolve(flags: &Flags, variables: Variables) -> Result<Self, SettingsError> {
        let flag_home = flags.home.as_ref().map(|path| path.to_string_lossy().into_owned());
        let home = pick(flag_home, variables("AGENTKEYS_HOME"), None);
        let home = match home {
            Some(found) => Sourced { value: PathBuf::from(found.value), source: found.source },
            None => Sourced { value: default_home(variables)?, source: Source::Default },
        };
        let file = read_file(&home.value.join("config.toml"))?;
        let lookup = Lookup { variables, file_path: home.value.join("config.toml") };

        let broker_url =
            lookup.optional("broker_url", flags.broker_url.clone(), file.broker_url, str::parse)?;
        let identity = lookup.optional("identity", flags.identity.clone(), file.identity, str::parse)?;
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        let ca_file = lookup.optional(
            "ca_file",
            flags.ca_file.as_ref().map(text),
            file.ca_file.as_ref().map(text),
            |path| Ok::<_, std::convert::Infallible>(PathBuf::from(path)),
        )?;
        let session_store = lookup.or_default(
            "session_store",
            flags.session_store.and_then(|choice| Some(choice.to_possible_value()?.get_name().to_owned())),
            file.session_store,
            |text| StoreChoice::from_str(text, true),
            StoreChoice::default(),
        )?;
        let insecure_plain_http = lookup.or_default(
            "insecure_plain_http",
            flags.insecure_plain_http.then(|| "true".to_owned()),
            file.insecure_plain_http.map(|b| b.to_string()),
            str::parse::<bool>,
            false,
        )?;
        let connect_timeout = lookup.or_default(
            "connect_timeout",
            None,
            file.connect_timeout,
            positive,
            Duration::from_secs(5),
        )?;
        let timeout = lookup.or_default("timeout", None, file.timeout, positive, Duration::from_secs(15))?;

        let settings = Self {
            home,
            broker_url,
            identity,
            ca_file,
            session_store,
            insecure_plain_http,
            connect_timeout,
            timeout,
        };
        if let Some(url) = &settings.broker_url.value {
            settings.allow(url)?;
        }
        Ok(settings)
    }

    /// Refuses to send a token in the clear to another machine, unless told to.
    pub fn allow(&self, url: &BrokerUrl) -> Result<(), SettingsError> {
        if url.is_private() || self.insecure_plain_http.value {
            return Ok(());
        }
        Err(SettingsError::Invalid {
            name: "broker_url",
            source_name: url.to_string(),
            reason: "plain http to another machine would show the token to the network; use https, or \
                     set AGENTKEYS_INSECURE_PLAIN_HTTP=true"
                .to_owned(),
        })
    }
}

struct Lookup<'a> {
    variables: Variables<'a>,
    file_path: PathBuf,
}

impl Lookup<'_> {
    fn optional<T, E: std::fmt::Display>(
        &self,
        name: &'static str,
        flag: Option<String>,
        file: Option<String>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Sourced<Option<T>>, SettingsError> {
        let variable = table::variable(name);
        let Some(found) = pick(flag, (self.variables)(&variable), file) else {
            return Ok(Sourced { value: None, source: Source::Default });
        };
        match parse(&found.value) {
            Ok(value) => Ok(Sourced { value: Some(value), source: found.source }),
            Err(error) => Err(SettingsError::Invalid {
                name,
                source_name: match found.source {
                    Source::Flag => format!("--{}", name.replace('_', "-")),
                    Source::Environment => variable,
                    Source::File | Source::Default => self.file_path.display().to_string(),
                },
                reason: error.to_string(),
            }),
        }
    }

    fn or_default<T, E: std::fmt::Display>(
        &self,
        name: &'static str,
        flag: Option<String>,
        file: Option<String>,
        parse: impl Fn(&str) -> Result<T, E>,
        default: T,
    ) -> Result<Sourced<T>, SettingsError> {
        let found = self.optional(name, flag, file, parse)?;
        Ok(Sourced { value: found.value.unwrap_or(default), source: found.source })
    }
}

/// An empty variable is one that is not set: `AGENTKEYS_BROKER_URL= agentkeys …`.
fn pick(flag: Option<String>, variable: Option<String>, file: Option<String>) -> Option<Sourced<String>> {
    let some = |value: Option<String>, source| {
        value.filter(|text| !text.is_empty()).map(|value| Sourced { value, source })
    };
    some(flag, Source::Flag).or_else(|| some(variable, Source::Environment)).or(some(file, Source::File))
}

fn positive(text: &str) -> Result<Duration, String> {
    match duration::parse(text) {
        Ok(Duration::ZERO) => Err("must be more than zero".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

fn default_home(variables: Variables) -> Result<PathBuf, SettingsError> {
    let variable = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
    let home = variables(variable).filter(|home| !home.is_empty()).map(PathBuf::from);
    Ok(home.or_else(std::env::home_dir).ok_or(SettingsError::NoHome)?.join(".agentkeys"))
}

fn read_file(path: &Path) -> Result<File, SettingsError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(File::default()),
        Err(error) => {
            return Err(SettingsError::Unreadable { path: path.to_owned(), reason: error.to_string() });
        }
    };
    toml::from_str(&text)
        .map_err(|error| SettingsError::Unreadable { path: path.to_owned(), reason: error.to_string() })
}

fn as_text<S: serde::Serializer>(value: &Sourced<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    Sourced { value: duration::format(value.value), source: value.source }.serialize(serializer)
}

#[cfg(test)]
mod tests;
