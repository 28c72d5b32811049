//! What the environment and the flags lay over the file, and which variables
//! look like a slip.

use super::data_dir::{self, Places};
use super::document::{Node, Value};
use super::entries::{Entries, Site};
use super::environment::Environment;
use super::rules::Note;
use super::secret::SecretRef;
use super::table::{self, Key, Kind, OTHER_VARIABLES, TABLE};
use super::{from_variable, suggest};

const PREFIX: &str = "BROKER_";
const DAEMON_KEY: [(&str, &str, &str); 2] = [
    ("aws.daemon_key.access_key_id", "BROKER_DAEMON_ACCESS_KEY_ID", "DAEMON_ACCESS_KEY_ID"),
    ("aws.daemon_key.secret_access_key", "BROKER_DAEMON_SECRET_ACCESS_KEY", "DAEMON_SECRET_ACCESS_KEY"),
];

/// Lays the environment over what is there.
pub(super) fn lay(entries: &mut Entries, environment: &Environment) -> Vec<Note> {
    lay_daemon_key(entries, environment);
    lay_sealing_key(entries, environment);
    // Whole lists and mappings first: `BROKER_ROLES` decides which aliases the
    // variables of a single role can name.
    let (whole, single): (Vec<&'static Key>, Vec<&'static Key>) =
        TABLE.iter().partition(|key| matches!(key.kind, Kind::Mappings | Kind::Named));
    let mut known: Vec<String> = OTHER_VARIABLES.iter().map(|(name, _)| (*name).to_owned()).collect();
    for key in whole.into_iter().chain(single) {
        let Some(variable) = key.variable() else { continue };
        if key.kind == Kind::Secret {
            known.push(variable);
            continue;
        }
        for (path, name) in spellings(entries, key, &variable) {
            if let Some(text) = environment.text(&name) {
                let site = Site::Variable(name.clone());
                match from_variable(text, key) {
                    Ok(value) => entries.lay(key, &path, value, site),
                    Err(message) => entries.problem(site, &path, message),
                }
            }
            known.push(name);
        }
    }
    if let Some(region) = environment.text("AWS_REGION")
        && entries.value("aws.region").is_none()
        && let Some(key) = table::row("aws.region")
    {
        entries.lay(key, key.path, Value::Text(region.to_owned()), Site::Variable("AWS_REGION".to_owned()));
    }
    unknown(entries, environment, &known)
}

/// Lays one flag over what is there.
pub(super) fn lay_flag(entries: &mut Entries, path: &str, value: &str, flag: &'static str) {
    if let Some(key) = table::row(path) {
        entries.lay(key, path, Value::Text(value.to_owned()), Site::Flag(flag));
    }
}

/// The platform's data directory, where nobody wrote another.
pub(super) fn lay_platform(entries: &mut Entries, environment: &Environment) {
    if entries.value("data_dir").is_none()
        && let Some(path) = data_dir::platform(environment)
        && let Some(key) = table::row("data_dir")
    {
        entries.lay(key, key.path, Value::Text(path), Site::Default);
    }
}

/// One item of a list that a variable holds with commas in between.
pub(super) fn short_item(item: &str, kind: Kind) -> Value {
    let text = |text: &str| Node { id: 0, value: Value::Text(text.to_owned()) };
    match kind {
        Kind::Mappings => Value::Map(vec![(text("address"), text(item))]),
        _ => text(item).value,
    }
}

/// The paths of a row and the variable of each: one for most, one per role for
/// `roles.*…`.
fn spellings(entries: &Entries, key: &Key, variable: &str) -> Vec<(String, String)> {
    if !variable.contains("<ALIAS>") {
        return vec![(key.path.to_owned(), variable.to_owned())];
    }
    let written = entries.members("roles");
    let members = if written.is_empty() { vec!["roles.agent".to_owned()] } else { written.to_vec() };
    members
        .iter()
        .filter_map(|member| {
            let alias = member.strip_prefix("roles.")?;
            let name = variable.replace("<ALIAS>", &alias.to_ascii_uppercase().replace(['.', '-'], "_"));
            Some((key.path.replace('*', alias), name))
        })
        .collect()
}

/// Both halves come from one spelling: a mixed pair would be two keys' halves.
fn lay_daemon_key(entries: &mut Entries, environment: &Environment) {
    for (path, ..) in DAEMON_KEY {
        refuse_literal(entries, environment, path);
    }
    let ours = DAEMON_KEY.iter().any(|(_, name, _)| environment.has(name));
    let spelling = DAEMON_KEY.map(|(path, name, alias)| (path, if ours { name } else { alias }));
    let set = spelling.map(|(_, name)| environment.has(name));
    if set[0] != set[1] {
        let ((path, have), (_, lack)) =
            if set[0] { (spelling[0], spelling[1]) } else { (spelling[1], spelling[0]) };
        // A file may well take one half from this very variable.
        let meant =
            entries.value(path).is_some_and(|entry| entry.value == Value::Text(format!("env:{have}")));
        if !meant {
            let message = format!("the operator's key is half there: {lack} is not set; set both or neither");
            entries.problem(Site::Variable(have.to_owned()), path, message);
        }
        return;
    }
    for (path, name) in spelling {
        let Some(key) = table::row(path).filter(|_| entries.sound(&[path])) else { continue };
        lay_secret(entries, environment, key, name);
    }
}

/// `BROKER_CREDENTIALS_KEY` holds the key, or says where it is.
fn lay_sealing_key(entries: &mut Entries, environment: &Environment) {
    let Some(key) = table::row("credentials.key") else { return };
    if entries.value(key.path).is_some_and(|entry| entry.value != Value::Null) {
        refuse_literal(entries, environment, key.path);
    }
    if entries.sound(&[key.path])
        && let Some(name) = key.variable()
    {
        lay_secret(entries, environment, key, &name);
    }
}

/// A secret in the file is refused even where a variable would hide it.
fn refuse_literal(entries: &mut Entries, environment: &Environment, path: &str) {
    let places = Places::new(None, environment);
    if let Some(entry) = entries.value(path)
        && let Err(message) = SecretRef::parse(&entry.value, &places)
    {
        let site = entry.site.clone();
        entries.problem(site, path, message);
    }
}

/// A variable that holds a secret, or a reference to one: either way the entry
/// is a reference.
fn lay_secret(entries: &mut Entries, environment: &Environment, key: &'static Key, name: &str) {
    let Some(text) = environment.text(name) else { return };
    let is_reference = ["op://", "file:", "kms:"].iter().any(|scheme| text.starts_with(scheme));
    let value = if is_reference { text.to_owned() } else { format!("env:{name}") };
    entries.lay(key, key.path, Value::Text(value), Site::Variable(name.to_owned()));
}

/// A variable that nearly is one of ours is a mistake; another one that begins
/// like ours may be for a wrapper, so it is only mentioned.
fn unknown(entries: &mut Entries, environment: &Environment, known: &[String]) -> Vec<Note> {
    let mut notes = Vec::new();
    let strangers = environment.names().filter(|name| !known.iter().any(|known| known == name));
    for name in strangers {
        let site = Site::Variable(suggest::printable(name));
        let near = suggest::near_variable(name, known);
        match near {
            Some(near) => {
                entries.problem(site, "", format!("unknown variable; did you mean {near}?"));
            }
            None if name.starts_with(PREFIX) => {
                notes.push((site, String::new(), "unknown variable; it has no effect".to_owned()));
            }
            None => {}
        }
    }
    notes
}
