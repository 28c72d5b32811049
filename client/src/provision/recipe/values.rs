//! The small texts of a recipe, each checked while the file is read, so that an
//! error carries the file's own line.

use std::fmt;
use std::time::Duration;

use agentkeys_core::duration;
use regex::Regex;
use serde::Deserialize;

/// Text with `${name}` in it. `$${` stands for a literal `${`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Name(String),
}

impl Template {
    /// The names that it uses.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Name(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text with each name replaced. An unknown name is an error that names it.
    pub fn fill<'v>(&self, value: impl Fn(&str) -> Option<&'v str>) -> Result<String, String> {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Name(name) => {
                    filled.push_str(value(name).ok_or_else(|| format!("${{{name}}} has no value yet"))?);
                }
            }
        }
        Ok(filled)
    }
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find("${") {
            let (before, after) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                plain.push_str(before);
                plain.push_str("${");
                rest = &after[2..];
                continue;
            }
            plain.push_str(before);
            let (name, after) =
                after[2..].split_once('}').ok_or_else(|| format!("{text:?}: a ${{ has no }}"))?;
            if !is_name(name) {
                return Err(format!("{text:?}: {name:?} is not a name (a-z, 0-9, '_')"));
            }
            parts.push(Part::Text(std::mem::take(&mut plain)));
            parts.push(Part::Name(name.to_owned()));
            rest = after;
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        Ok(Self { text, parts })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Is this a name that a template can use?
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Which element: a CSS selector, and after ` >> ` a text that it must contain.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct Locator {
    /// The selector.
    pub css: String,
    /// The text, if any.
    pub text: Option<String>,
}

impl TryFrom<String> for Locator {
    type Error = String;

    fn try_from(whole: String) -> Result<Self, String> {
        let (css, text) = match whole.split_once(" >> ") {
            Some((css, text)) => (css.trim(), Some(text.trim().to_owned())),
            None => (whole.trim(), None),
        };
        if css.is_empty() || text.as_ref().is_some_and(String::is_empty) {
            return Err(format!("{whole:?} is not an element: expected a selector, or 'selector >> text'"));
        }
        Ok(Self { css: css.to_owned(), text })
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => write!(f, "{} with the text {text:?}", self.css),
            None => f.write_str(&self.css),
        }
    }
}

/// A regular expression; where it has a group, the first group is what counts.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern(Regex);

impl Pattern {
    /// Is it anywhere in the text?
    pub fn is_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// What it finds.
    pub fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        let found = self.0.captures(text)?;
        Some(found.get(1).or_else(|| found.get(0))?.as_str())
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Regex::new(&text).map(Self).map_err(|error| format!("not a regular expression: {error}"))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.0.as_str())
    }
}

/// How long something may take.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct Patience(pub Duration);

/// No step waits longer: minted credentials must outlive the loop.
const LONGEST: Duration = Duration::from_secs(600);

impl TryFrom<String> for Patience {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match duration::parse(&text) {
            Ok(duration) if duration.is_zero() || duration > LONGEST => {
                Err(format!("{text:?}: more than zero and at most 10m"))
            }
            Ok(duration) => Ok(Self(duration)),
            Err(error) => Err(format!("{text:?}: {error}")),
        }
    }
}

impl fmt::Display for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&duration::format(self.0))
    }
}
