//! The configuration that is in force, for `check`: every key, its value and
//! where that came from. Secrets appear as references, never as values; what
//! a filter of another crate is given is not shown at all.

use std::fmt;

use serde_json::{Map, Value as Json};

use super::document::Value;
use super::entries::Entries;
use super::error::Origin;
use super::settings::{ExchangeMode, Settings};
use super::table::TABLE;

/// Every key with its value and origin.
pub struct Effective {
    entries: Entries,
    data_dir: String,
    exchange: (ExchangeMode, String),
}

/// One key.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its full path: `aws.region`, `listeners[0].address`.
    pub key: String,
    /// Its value, as it was written.
    pub value: Json,
    /// Where it was written.
    pub origin: Origin,
}

impl Effective {
    pub(super) fn new(entries: Entries, settings: &Settings) -> Self {
        let exchange = &settings.aws.exchange;
        Self {
            entries,
            data_dir: settings.data_dir.display().to_string(),
            exchange: (exchange.mode, exchange.reason.clone()),
        }
    }

    /// Every key, in the order of the table.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for key in TABLE {
            for path in self.entries.paths_of(key) {
                if let Some(entry) = self.entries.value(&path) {
                    let value = if path == "filters" { filters(&entry.value) } else { json(&entry.value) };
                    rows.push(Row { key: path, value, origin: self.entries.origin(&entry.site) });
                }
            }
        }
        // Half of a pair that is null only says that the other form was used.
        rows.retain(|row| {
            !(row.value.is_null() && row.origin == Origin::Default && row.key.contains(".tls"))
        });
        rows
    }

    /// Where one key was written.
    pub fn origin(&self, key: &str) -> Origin {
        self.entries.origin(&self.entries.site(key))
    }

    /// One JSON document: the settings as nested keys, the origin of each, and
    /// what was decided from them.
    pub fn to_json(&self) -> Json {
        let rows = self.rows();
        let mut settings = Json::Object(Map::new());
        let mut sources = Map::new();
        for row in rows {
            sources.insert(row.key.clone(), Json::from(row.origin.to_string()));
            place(&mut settings, &segments(&row.key), row.value);
        }
        let (mode, reason) = &self.exchange;
        serde_json::json!({
            "settings": settings,
            "sources": sources,
            "decided": { "data_dir": self.data_dir, "exchange": mode.to_string(), "exchange_reason": reason },
        })
    }

    /// YAML with the origin of each key in a comment.
    pub fn to_yaml(&self) -> String {
        let (mode, reason) = &self.exchange;
        let mut text = format!("# exchange: {mode}, since {reason}\n# data directory: {}\n", self.data_dir);
        let mut open: Vec<String> = Vec::new();
        for row in self.rows() {
            let parts = segments(&row.key);
            let Some((name, sections)) = parts.split_last() else { continue };
            let shared = open.iter().zip(sections).take_while(|(a, b)| a == b).count();
            open.truncate(shared);
            for section in &sections[shared..] {
                line(&mut text, &open, section, "");
                open.push(section.clone());
            }
            let value = format!("{} # {}", scalar(&row.value), row.origin);
            line(&mut text, &open, name, &value);
        }
        text
    }
}

impl fmt::Debug for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.rows()).finish()
    }
}

/// `name: value` below these sections; an item of a list shows as a dash.
fn line(text: &mut String, sections: &[String], name: &str, value: &str) {
    let indent = "  ".repeat(sections.len());
    let colon = if value.is_empty() { ":" } else { ": " };
    if name.starts_with('[') {
        text.push_str(&format!("{indent}-\n"));
    } else {
        text.push_str(&format!("{indent}{name}{colon}{value}\n"));
    }
}

/// A value on one line. JSON's quotes are YAML's too.
fn scalar(value: &Json) -> String {
    let Json::String(text) = value else { return value.to_string() };
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '~'));
    let plain = first
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "/_.-~:+@".contains(c))
        && !text.ends_with(':')
        && !matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "null" | "~")
        // What older YAML readers take for a flag.
        && !matches!(text.to_ascii_lowercase().as_str(), "on" | "off" | "yes" | "no" | "y" | "n")
        && text.parse::<f64>().is_err();
    if plain { text.clone() } else { value.to_string() }
}

/// The steps of a full path; `[0]` is a list's first item. A role's alias may
/// hold dots, so it is what stands between the first and the last of them.
fn segments(path: &str) -> Vec<String> {
    if let Some((alias, name)) = path.strip_prefix("roles.").and_then(|rest| rest.rsplit_once('.')) {
        return ["roles", alias, name].map(str::to_owned).to_vec();
    }
    path.replace('[', ".[").split('.').map(str::to_owned).collect()
}

fn place(at: &mut Json, path: &[String], value: Json) {
    let Some((first, rest)) = path.split_first() else {
        *at = value;
        return;
    };
    let index =
        first.strip_prefix('[').and_then(|item| item.strip_suffix(']')).and_then(|item| item.parse().ok());
    match (index, at) {
        (Some(index), Json::Array(items)) => {
            let index: usize = index;
            if items.len() <= index {
                items.resize(index + 1, Json::Null);
            }
            place(&mut items[index], rest, value);
        }
        (None, Json::Object(map)) => place(map.entry(first.as_str()).or_insert(Json::Null), rest, value),
        (index, other) => {
            *other = if index.is_some() { Json::Array(Vec::new()) } else { Json::Object(Map::new()) };
            place(other, path, value);
        }
    }
}

fn json(value: &Value) -> Json {
    value.to_json().unwrap_or(Json::Null)
}

/// Names only: another crate's settings may hold what should not be printed.
fn filters(value: &Value) -> Json {
    let Value::List(items) = value else { return Json::Null };
    let names = items.iter().map(|item| match &item.value {
        Value::Map(entries) => match &entries[..] {
            [(key, _)] => json(&key.value),
            _ => Json::Null,
        },
        other => json(other),
    });
    Json::Array(names.collect())
}
