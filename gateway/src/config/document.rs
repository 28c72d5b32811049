//! YAML text as a tree in which every node has a position.
//!
//! serde_yaml gives a line and column only inside an error. So nodes are
//! numbered in the order of the text, and [`Document::location`] reads the text
//! again with a visitor that fails at the wanted number: one parser, no second
//! opinion on what the file says. Nothing here may put a scalar into a message,
//! since it might be a secret.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};

/// More than any configuration needs; less than a hostile file may cost.
pub const MAX_BYTES: u64 = 1024 * 1024;
/// Counted with every alias expanded, which is what bounds an alias bomb.
const MAX_NODES: u32 = 20_000;
const MAX_DEPTH: u32 = 32;

/// A place in a text, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// A node and its number.
#[derive(Clone, PartialEq)]
pub struct Node {
    pub id: u32,
    pub value: Value,
}

/// What a node holds. No `Debug`: a scalar may be a secret that somebody wrote
/// where it does not belong.
#[derive(Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    /// A number that is no whole 64-bit one. Its digits are of no use here.
    OtherNumber,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Value {
    /// What it is, for a message.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Integer(_) => "a whole number",
            Self::OtherNumber => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }

    /// The same value for a filter that is built elsewhere.
    pub fn to_json(&self) -> Result<serde_json::Value, &'static str> {
        use serde_json::Value as Json;
        Ok(match self {
            Self::Null => Json::Null,
            Self::Bool(flag) => Json::Bool(*flag),
            Self::Integer(number) => Json::from(*number),
            Self::OtherNumber => return Err("numbers here are whole 64-bit numbers"),
            Self::Text(text) => Json::from(text.as_str()),
            Self::List(items) => {
                Json::Array(items.iter().map(|item| item.value.to_json()).collect::<Result<_, _>>()?)
            }
            Self::Map(entries) => {
                let mut map = serde_json::Map::new();
                for (key, item) in entries {
                    let Value::Text(key) = &key.value else { return Err("keys are texts") };
                    if map.insert(key.clone(), item.value.to_json()?).is_some() {
                        return Err("a key stands here twice");
                    }
                }
                Json::Object(map)
            }
        })
    }
}

/// Why a text is no document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    pub location: Option<Location>,
    pub message: String,
}

/// A parsed text, kept so that positions can be found when they are wanted.
#[derive(Clone)]
pub struct Document {
    text: String,
    pub root: Node,
}

impl Document {
    pub fn parse(text: String) -> Result<Self, SyntaxError> {
        let walk = Walk::new(None);
        let deserializer = serde_yaml::Deserializer::from_str(&text);
        match (Seed { walk: &walk, depth: 0 }).deserialize(deserializer) {
            Ok(root) => Ok(Self { text, root }),
            Err(error) => Err(SyntaxError { location: location_of(&error), message: walk.explain(&error) }),
        }
    }

    /// Where the node with this number stands.
    pub fn location(&self, id: u32) -> Option<Location> {
        let walk = Walk::new(Some(id));
        let deserializer = serde_yaml::Deserializer::from_str(&self.text);
        match (Seed { walk: &walk, depth: 0 }).deserialize(deserializer) {
            Ok(_) => None,
            Err(error) => location_of(&error),
        }
    }
}

fn location_of(error: &serde_yaml::Error) -> Option<Location> {
    error.location().map(|at| Location { line: at.line(), column: at.column() })
}

/// One pass over the text.
struct Walk {
    next: Cell<u32>,
    stop_at: Option<u32>,
    refused: Cell<Option<&'static str>>,
}

impl Walk {
    fn new(stop_at: Option<u32>) -> Self {
        Self { next: Cell::new(0), stop_at, refused: Cell::new(None) }
    }

    fn enter<E: serde::de::Error>(&self, depth: u32) -> Result<u32, E> {
        let id = self.next.get();
        self.next.set(id + 1);
        if self.stop_at == Some(id) {
            return Err(E::custom("found"));
        }
        if id >= MAX_NODES {
            return Err(self.refuse("the file has too many values (aliases count each time they are used)"));
        }
        if depth > MAX_DEPTH {
            return Err(self.refuse("the file is nested too deeply"));
        }
        Ok(id)
    }

    fn refuse<E: serde::de::Error>(&self, why: &'static str) -> E {
        self.refused.set(Some(why));
        E::custom(why)
    }

    fn explain(&self, error: &serde_yaml::Error) -> String {
        if let Some(why) = self.refused.get() {
            return why.to_owned();
        }
        let text = error.to_string();
        // serde's own "invalid type/value" messages quote the value.
        if text.contains("invalid ") {
            return "a value does not fit the tag before it; write it without a tag".to_owned();
        }
        if text.contains("more than one document") {
            return "the file holds more than one YAML document; remove the '---' between them".to_owned();
        }
        format!("not valid YAML: {}", text.split(" at line ").next().unwrap_or(&text))
    }
}

#[derive(Clone, Copy)]
struct Seed<'w> {
    walk: &'w Walk,
    depth: u32,
}

impl Seed<'_> {
    fn leaf<E: serde::de::Error>(self, value: Value) -> Result<Node, E> {
        Ok(Node { id: self.walk.enter(self.depth)?, value })
    }

    fn inner(self) -> Self {
        Self { walk: self.walk, depth: self.depth + 1 }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Node, E> {
        self.leaf(Value::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Node, E> {
        self.leaf(Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<Node, E> {
        self.leaf(Value::Bool(flag))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Node, E> {
        self.leaf(Value::Integer(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Node, E> {
        self.leaf(i64::try_from(number).map_or(Value::OtherNumber, Value::Integer))
    }

    fn visit_i128<E: serde::de::Error>(self, _: i128) -> Result<Node, E> {
        self.leaf(Value::OtherNumber)
    }

    fn visit_u128<E: serde::de::Error>(self, _: u128) -> Result<Node, E> {
        self.leaf(Value::OtherNumber)
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Node, E> {
        self.leaf(Value::OtherNumber)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Node, E> {
        self.leaf(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let id = self.walk.enter(self.depth)?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self.inner())? {
            items.push(item);
        }
        Ok(Node { id, value: Value::List(items) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let id = self.walk.enter(self.depth)?;
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry_seed(self.inner(), self.inner())? {
            entries.push(entry);
        }
        Ok(Node { id, value: Value::Map(entries) })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Node, A::Error> {
        let (_, inner) = tagged.variant::<serde::de::IgnoredAny>()?;
        // Read past it, so that the error that is reported is ours.
        inner.newtype_variant::<serde::de::IgnoredAny>()?;
        self.walk.enter::<A::Error>(self.depth)?;
        Err(self.walk.refuse("YAML tags ('!name') have no meaning here; remove it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: usize, column: usize) -> Option<Location> {
        Some(Location { line, column })
    }

    #[test]
    fn every_node_has_the_place_where_it_is_written() {
        let text = "# comment\nissuer: http://é\naws:\n  region:   eu-west-1\nlist: [a, {b: 1}]\n";
        let document = Document::parse(text.to_owned()).ok().unwrap();
        let places: Vec<_> = (0..12).map(|id| document.location(id)).collect();
        assert_eq!(
            places,
            [
                place(2, 1),  // the root
                place(2, 1),  // issuer
                place(2, 9),  // its value
                place(3, 1),  // aws
                place(4, 3),  // its mapping
                place(4, 3),  // region
                place(4, 13), // its value
                place(5, 1),  // list
                place(5, 7),
                place(5, 8),  // a
                place(5, 11), // the mapping
                place(5, 12), // b
            ]
        );
        assert_eq!(document.location(99), None);
    }

    #[test]
    fn what_is_no_document_is_said_with_its_place_and_without_its_content() {
        let bomb = format!(
            "a0: &a0 [x]\n{}",
            (1..30).map(|i| format!("a{i}: &a{i} [*a{0}, *a{0}]\n", i - 1)).collect::<String>()
        );
        for (text, at, message) in [
            ("a: [1", (2, 1), "not valid YAML: "),
            ("a: b: canary", (1, 5), "not valid YAML: mapping values are not allowed"),
            ("a: !!int canary", (1, 4), "does not fit the tag"),
            ("a: !secret canary", (1, 4), "tags ('!name') have no meaning"),
            ("a: 1\n---\nb: 2\n", (0, 0), "more than one YAML document"),
            ("a: *canary", (1, 4), "unknown anchor"),
            (&format!("{}{}", "[".repeat(60), "]".repeat(60)), (1, 34), "nested too deeply"),
            (&bomb, (1, 5), "too many values"),
        ] {
            let error = Document::parse(text.to_owned()).err().unwrap();
            assert!(error.message.contains(message), "{text:.40}: {}", error.message);
            assert!(!error.message.contains("canary"), "{}", error.message);
            let found = error.location.map_or((0, 0), |at| (at.line, at.column));
            assert_eq!(found, at, "{text:.40}: {}", error.message);
        }
    }
}
