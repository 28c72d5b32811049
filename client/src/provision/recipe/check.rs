//! What a parser cannot see: one action per step, names that have a value by
//! the time they are used, a key at the end.

use std::collections::HashSet;

use agentkeys_core::scope::Service;
use serde::Deserialize;

use super::{Action, Fill, Locator, Mail, Patience, Read, Recipe, RecipeError, Step, Template, values};

/// The names that every recipe starts with.
const GIVEN: &[&str] = &["email", "password", "wallet"];
/// The name that every recipe must end with.
pub const KEY: &str = "key";

const PATIENCE: Patience = Patience(std::time::Duration::from_secs(30));

/// A step as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    name: String,
    open: Option<Template>,
    wait_for: Option<OneOrMore>,
    fill: Option<Fill>,
    click: Option<Locator>,
    mail: Option<Mail>,
    read: Option<Read>,
    timeout: Option<Patience>,
    #[serde(default)]
    optional: bool,
    person: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(Locator),
    More(Vec<Locator>),
}

impl TryFrom<Written> for Step {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let wait_for = written.wait_for.map(|wait| match wait {
            OneOrMore::One(locator) => vec![locator],
            OneOrMore::More(locators) => locators,
        });
        let mut actions = [
            written.open.map(Action::Open),
            wait_for.map(Action::WaitFor),
            written.fill.map(Action::Fill),
            written.click.map(Action::Click),
            written.mail.map(Action::Mail),
            written.read.map(Action::Read),
        ]
        .into_iter()
        .flatten();
        let (Some(action), None) = (actions.next(), actions.next()) else {
            return Err(format!(
                "step {:?} needs exactly one of open, wait_for, fill, click, mail, read",
                written.name
            ));
        };
        if written.optional && !matches!(action, Action::WaitFor(_) | Action::Fill(_) | Action::Click(_)) {
            return Err(format!("step {:?}: only wait_for, fill and click can be optional", written.name));
        }
        let patience = written.timeout.unwrap_or(PATIENCE);
        Ok(Self { name: written.name, action, patience, optional: written.optional, person: written.person })
    }
}

impl Recipe {
    pub(super) fn check(&self, service: &Service) -> Result<(), RecipeError> {
        let wrong =
            |line: usize, reason: String| RecipeError::Wrong { file: self.file.clone(), line, reason };
        if self.service != *service {
            return Err(wrong(1, format!("this is a recipe for {}, not for {service}", self.service)));
        }
        if self.steps.is_empty() || self.verify.is_empty() || self.origins.is_empty() {
            return Err(wrong(1, "origins, steps and verify need at least one entry each".to_owned()));
        }
        let mut known: HashSet<&str> = GIVEN.iter().copied().collect();
        for named in &self.names {
            if !values::is_name(&named.name) || !known.insert(&named.name) {
                return Err(wrong(1, format!("{:?} is not a name, or is there twice", named.name)));
            }
        }
        for origin in &self.origins {
            used(origin, &known).map_err(|reason| wrong(1, reason))?;
        }
        for (index, step) in self.steps.iter().enumerate() {
            let wrong = |reason: String| {
                wrong(self.line(index), format!("step {} {:?}: {reason}", index + 1, step.name))
            };
            match &step.action {
                Action::Open(address) => used(address, &known).map_err(wrong)?,
                Action::Fill(fill) => used(&fill.text, &known).map_err(wrong)?,
                Action::Mail(mail) => used(&mail.from, &known).map_err(wrong)?,
                Action::WaitFor(_) | Action::Click(_) | Action::Read(_) => {}
            }
            let saved = match &step.action {
                Action::Mail(mail) => Some(&mail.save),
                Action::Read(read) => Some(&read.save),
                _ => None,
            };
            if let Some(name) = saved
                && (!values::is_name(name) || !known.insert(name))
            {
                return Err(wrong(format!("{name:?} is not a name, or is there already")));
            }
        }
        if !known.contains(KEY) {
            return Err(wrong(1, "no step saves the key: one must read it with `save: key`".to_owned()));
        }
        self.verify.iter().try_for_each(|verify| used(&verify.get, &known)).map_err(|reason| wrong(1, reason))
    }
}

fn used(template: &Template, known: &HashSet<&str>) -> Result<(), String> {
    match template.names().find(|name| !known.contains(name)) {
        Some(name) => Err(format!("nothing before this gives ${{{name}}} a value")),
        None => Ok(()),
    }
}

/// Where each step begins, which the parser does not tell: the entries of the
/// list under `steps:`, recognised by the first one's indentation.
pub fn lines_of_steps(text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let mut indentation = None;
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        let content = line.trim_start();
        let depth = line.len() - content.len();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let entry = content.starts_with("- ");
        if depth == 0 && !entry {
            inside = line.starts_with("steps:");
        } else if inside && entry && *indentation.get_or_insert(depth) == depth {
            found.push(number + 1);
        }
    }
    found
}
