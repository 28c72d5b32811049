//! The XML of S3: a page of a listing, and an error's code.

use agentkeys_core::Timestamp;
use roxmltree::{Document, Node};

use super::s3::Object;

/// A page, and what asks for the next one.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// The objects.
    pub objects: Vec<Object>,
    /// The continuation token.
    pub next: Option<String>,
}

/// Reads a page of `ListObjectsV2`.
pub fn read(xml: &str) -> Result<Page, String> {
    let document = Document::parse(xml).map_err(|error| error.to_string())?;
    let root = document.root_element();
    if root.tag_name().name() != "ListBucketResult" {
        return Err(format!("{} where a listing was expected", root.tag_name().name()));
    }
    let mut objects = Vec::new();
    for entry in root.children().filter(|node| node.has_tag_name_local("Contents")) {
        let field = |name| entry.text_of(name).ok_or_else(|| format!("an entry without {name}"));
        let modified = field("LastModified")?;
        objects.push(Object {
            key: field("Key")?.to_owned(),
            modified: Timestamp::parse(modified).ok_or_else(|| format!("{modified:?} is no time"))?,
            size: field("Size")?.parse().map_err(|_| "a size that is no number".to_owned())?,
        });
    }
    let more = root.text_of("IsTruncated") == Some("true");
    let next = root.text_of("NextContinuationToken").map(str::to_owned);
    match (more, next) {
        (true, None) => Err("there is more, and no word of how to ask for it".to_owned()),
        (true, next) => Ok(Page { objects, next }),
        (false, _) => Ok(Page { objects, next: None }),
    }
}

/// The code of an error document.
pub fn error_code(xml: &str) -> Option<String> {
    let document = Document::parse(xml).ok()?;
    let code = document.root_element().text_of("Code")?;
    let plain = code.len() <= 64 && code.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
    plain.then(|| code.to_owned())
}

/// S3 and its look-alikes differ in whether they name the namespace.
trait Local<'a> {
    fn has_tag_name_local(&self, name: &str) -> bool;
    fn text_of(&self, name: &str) -> Option<&'a str>;
}

impl<'a> Local<'a> for Node<'a, '_> {
    fn has_tag_name_local(&self, name: &str) -> bool {
        self.tag_name().name() == name
    }

    fn text_of(&self, name: &str) -> Option<&'a str> {
        self.children().find(|node| node.has_tag_name_local(name))?.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>true</IsTruncated>
<Contents><Key>bots/a&amp;b/1</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified><Size>12</Size></Contents>
<NextContinuationToken>next=</NextContinuationToken></ListBucketResult>"#;

    #[test]
    fn a_page_gives_its_objects_and_the_way_to_the_next() {
        let page = read(PAGE).unwrap();
        assert_eq!(page.next.as_deref(), Some("next="));
        assert_eq!(page.objects[0].key, "bots/a&b/1");
        assert_eq!(page.objects[0].modified, Timestamp::parse("2026-01-02T03:04:05Z").unwrap());
        let last = PAGE.replace(">true<", ">false<");
        assert_eq!(read(&last).unwrap().next, None);
    }

    #[test]
    fn half_an_answer_is_an_error_and_not_an_empty_mailbox() {
        assert!(read("<html/>").is_err());
        assert!(read(&PAGE.replace("NextContinuationToken", "Other")).is_err());
        assert!(read(&PAGE.replace("<Size>12</Size>", "")).is_err());
        assert_eq!(error_code("<Error><Code>AccessDenied</Code></Error>").as_deref(), Some("AccessDenied"));
    }
}
