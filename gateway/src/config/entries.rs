//! The layers — built in, file, environment, flags — laid over each other: one
//! value per key, and where it came from. Knows the table, not the meaning.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use agentkeys_core::RoleAlias;

use super::document::{Document, Node, Value};
use super::error::{ConfigError, Origin};
use super::suggest;
use super::table::{self, Key, Kind, TABLE};

/// More would only repeat the first mistake.
const MAX_PROBLEMS: usize = 50;

/// Where a value was written; the cheap form of [`Origin`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Site {
    Default,
    File(u32),
    Variable(String),
    Flag(&'static str),
}

/// A key's value and where it was written.
pub(super) struct Entry {
    pub key: &'static Key,
    pub value: Value,
    pub site: Site,
}

/// The layers, and what is wrong with them.
pub(super) struct Entries {
    /// By full path: `aws.region`, `listeners[0].address`, `roles.agent.arn`.
    values: BTreeMap<String, Entry>,
    /// Lists of mappings and named mappings: the full paths of their members.
    members: BTreeMap<&'static str, (Site, Vec<String>)>,
    /// Where mappings begin, for what is missing in one.
    sections: BTreeMap<String, Site>,
    document: Option<(Document, Arc<PathBuf>)>,
    problems: Vec<(Site, String, String)>,
    faulty: BTreeSet<String>,
}

impl Entries {
    pub fn new() -> Self {
        Self {
            values: BTreeMap::new(),
            members: BTreeMap::new(),
            sections: BTreeMap::new(),
            document: None,
            problems: Vec::new(),
            faulty: BTreeSet::new(),
        }
    }

    /// Lays a file over what is there.
    pub fn lay_file(&mut self, document: Document, path: Arc<PathBuf>) {
        match &document.root.value {
            Value::Map(entries) => self.section(entries, "", "", &Site::File),
            Value::Null => {}
            other => self.problem(
                Site::File(document.root.id),
                "",
                format!("the file holds {}; it must be a mapping of keys such as 'issuer:'", other.kind()),
            ),
        }
        self.document = Some((document, path));
    }

    /// Lays one value over what is there.
    pub fn lay(&mut self, key: &'static Key, path: &str, value: Value, site: Site) {
        if let Some((_, members)) = self.members.remove(key.path) {
            self.values.retain(|name, _| {
                !members.iter().any(|member| {
                    name.strip_prefix(member.as_str()).is_some_and(|rest| rest.starts_with('.'))
                })
            });
        }
        let node = Node { id: 0, value };
        self.node(&node, key.path, path, &|_| site.clone());
    }

    /// Fills every key that nobody wrote.
    pub fn fill_defaults(&mut self) {
        for key in TABLE {
            let Some(text) = key.default else { continue };
            for path in self.paths_of(key) {
                if self.values.contains_key(&path) || self.members.contains_key(path.as_str()) {
                    continue;
                }
                match Document::parse(text.to_owned()) {
                    Ok(document) => self.node(&document.root, key.path, &path, &|_| Site::Default),
                    Err(error) => self.problem(Site::Default, &path, error.message),
                }
            }
        }
    }

    /// The full paths that a row stands for.
    pub fn paths_of(&self, key: &Key) -> Vec<String> {
        match key.path.split_once("[]").or_else(|| key.path.split_once(".*")) {
            None => vec![key.path.to_owned()],
            Some((list, rest)) => self.members(list).iter().map(|member| format!("{member}{rest}")).collect(),
        }
    }

    /// The full paths of a list's or a named mapping's members.
    pub fn members(&self, path: &str) -> &[String] {
        self.members.get(path).map_or(&[], |(_, members)| members)
    }

    pub fn value(&self, path: &str) -> Option<&Entry> {
        self.values.get(path)
    }

    /// Where a key was written; the default where it was not.
    pub fn site(&self, path: &str) -> Site {
        match (self.values.get(path), self.members.get(path)) {
            (Some(entry), _) => entry.site.clone(),
            (None, Some((site, _))) => site.clone(),
            (None, None) => self.sections.get(path).cloned().unwrap_or(Site::Default),
        }
    }

    pub fn problem(&mut self, site: Site, path: &str, message: impl Into<String>) {
        self.faulty.insert(path.to_owned());
        self.problems.push((site, path.to_owned(), message.into()));
    }

    /// True where none of these keys (nor a member of them) has a problem, so
    /// that a rule over several keys does not repeat a mistake in one of them.
    pub fn sound(&self, paths: &[&str]) -> bool {
        !self.faulty.iter().any(|faulty| {
            paths.iter().any(|path| {
                faulty.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            })
        })
    }

    /// True where this very key has no problem.
    pub fn sound_alone(&self, path: &str) -> bool {
        !self.faulty.contains(path)
    }

    pub fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    /// Every problem with its place, in the order of the file.
    pub fn into_errors(mut self) -> Vec<ConfigError> {
        let problems = std::mem::take(&mut self.problems);
        let more = problems.len().saturating_sub(MAX_PROBLEMS);
        let mut errors: Vec<_> = problems
            .into_iter()
            .take(MAX_PROBLEMS)
            .map(|(site, path, message)| ConfigError::new(self.origin(&site), path, message))
            .collect();
        errors.sort_by_key(|error| match &error.origin {
            Origin::File { line, column, .. } => (0, *line, *column),
            _ => (1, 0, 0),
        });
        if more > 0 {
            errors.push(ConfigError::new(Origin::Default, "", format!("and {more} more errors")));
        }
        errors
    }

    /// The place that a site stands for.
    pub fn origin(&self, site: &Site) -> Origin {
        match (site, &self.document) {
            (Site::File(id), Some((document, path))) => {
                let (line, column) = document.location(*id).map_or((0, 0), |at| (at.line, at.column));
                Origin::File { path: path.clone(), line, column }
            }
            (Site::Variable(name), _) => Origin::Variable(name.clone()),
            (Site::Flag(flag), _) => Origin::Flag(flag),
            (Site::Default | Site::File(_), _) => Origin::Default,
        }
    }

    fn node(&mut self, node: &Node, schema: &str, path: &str, site: &dyn Fn(u32) -> Site) {
        let row = table::row(schema);
        let section = !table::children(schema).is_empty();
        match (&node.value, row) {
            (Value::List(items), Some(key)) if key.kind == Kind::Mappings => {
                let members: Vec<_> = (0..items.len()).map(|index| format!("{path}[{index}]")).collect();
                for (item, member) in items.iter().zip(&members) {
                    self.node(item, &format!("{schema}[]"), member, site);
                }
                self.members.insert(key.path, (site(node.id), members));
            }
            (Value::Map(entries), Some(key)) if key.kind == Kind::Named => {
                let members = self.named(entries, schema, path, site);
                self.members.insert(key.path, (site(node.id), members));
            }
            (Value::Map(entries), _) if section => {
                self.sections.insert(path.to_owned(), site(node.id));
                self.section(entries, schema, path, site);
            }
            (value, Some(key)) if !matches!(key.kind, Kind::Mappings | Kind::Named) => {
                self.values.insert(path.to_owned(), Entry { key, value: value.clone(), site: site(node.id) });
            }
            // `aws:` with nothing below it, as when every line of it is commented out.
            (Value::Null, None) => {}
            (value, _) => {
                let found = value.kind();
                let message = match row.map(|key| key.kind) {
                    Some(Kind::Mappings) => format!("holds {found}; write a list: begin each item with '- '"),
                    Some(_) => format!("holds {found}; write a mapping from names to settings"),
                    None => {
                        let keys = table::children(schema).join(", ");
                        format!("holds {found}; write a mapping with the keys {keys}")
                    }
                };
                self.problem(site(node.id), path, message);
            }
        }
    }

    fn section(&mut self, entries: &[(Node, Node)], schema: &str, path: &str, site: &dyn Fn(u32) -> Site) {
        let known = table::children(schema);
        for (key, name, value) in self.names(entries, path, site) {
            let full = join(path, name);
            if known.contains(&name) {
                self.node(value, &join(schema, name), &full, site);
            } else {
                self.problem(
                    site(key.id),
                    &join(path, &suggest::printable(name)),
                    suggest::unknown_key(name, schema),
                );
            }
        }
    }

    fn named(
        &mut self,
        entries: &[(Node, Node)],
        schema: &str,
        path: &str,
        site: &dyn Fn(u32) -> Site,
    ) -> Vec<String> {
        let mut members = Vec::new();
        for (key, name, value) in self.names(entries, path, site) {
            let full = join(path, name);
            if let Err(error) = name.parse::<RoleAlias>() {
                self.problem(site(key.id), path, error.to_string());
                continue;
            }
            self.node(value, &format!("{schema}.*"), &full, site);
            members.push(full);
        }
        members
    }

    /// The entries whose key is a text that stands here once.
    fn names<'n>(
        &mut self,
        entries: &'n [(Node, Node)],
        path: &str,
        site: &dyn Fn(u32) -> Site,
    ) -> Vec<(&'n Node, &'n str, &'n Node)> {
        let mut seen = BTreeSet::new();
        let mut names = Vec::new();
        for (key, value) in entries {
            let Value::Text(name) = &key.value else {
                let found = key.value.kind();
                self.problem(site(key.id), path, format!("a key here is {found}; keys are texts"));
                continue;
            };
            if !seen.insert(name) {
                let message = "stands here twice; keep one of the two";
                self.problem(site(key.id), &join(path, &suggest::printable(name)), message);
                continue;
            }
            names.push((key, name.as_str(), value));
        }
        names
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
