//! An operator's own session policy: a JSON template, checked when it is read.
//!
//! A template that does not tell wallets apart is refused, since it would be no
//! ceiling; so is one whose reach cannot be read off (`NotAction`, `NotResource`).

use serde_json::{Map, Value};

use super::session_policy::PolicyError;

/// The wallet.
pub const WALLET: &str = "wallet";
/// The bucket.
pub const BUCKET: &str = "bucket";
/// The wallet's prefix, ending in `/`.
pub const PREFIX: &str = "prefix";
/// The role's partition.
pub const PARTITION: &str = "partition";

const KNOWN: [&str; 4] = [WALLET, BUCKET, PREFIX, PARTITION];

/// A parsed and checked template.
#[derive(Clone, Debug)]
pub struct Template(Value);

impl Template {
    /// Reads a template and refuses what could not keep wallets apart.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let json: Value =
            serde_json::from_str(text).map_err(|error| PolicyError::NotJson(error.to_string()))?;
        check_strings(&json)?;
        let policy = json.as_object().ok_or_else(|| shape("is not an object"))?;
        if policy.get("Version").and_then(Value::as_str) != Some("2012-10-17") {
            return Err(shape("needs \"Version\": \"2012-10-17\": in older ones variables are plain text"));
        }
        let statements: Vec<&Value> = match policy.get("Statement") {
            Some(Value::Array(list)) if !list.is_empty() => list.iter().collect(),
            Some(one @ Value::Object(_)) => vec![one],
            _ => return Err(shape("has no Statement")),
        };
        for statement in statements {
            check_statement(
                statement.as_object().ok_or_else(|| shape("has a Statement that is not an object"))?,
            )?;
        }
        Ok(Self(json))
    }

    /// The document with these values in place of their names.
    pub fn fill(&self, values: &[(&'static str, &str)]) -> Result<Value, PolicyError> {
        for (name, value) in values {
            let safe = |c: char| c.is_ascii_alphanumeric() || "-_.=/".contains(c);
            if value.is_empty() || !value.chars().all(safe) {
                return Err(PolicyError::UnsafeValue(name));
            }
        }
        let mut document = self.0.clone();
        fill_strings(&mut document, values);
        Ok(document)
    }
}

/// Every `${…}` must be known, and stand in a value: a key that depends on a
/// wallet would be a condition that nobody can review.
fn check_strings(json: &Value) -> Result<(), PolicyError> {
    match json {
        Value::String(text) => placeholders(text).try_for_each(|name| {
            if KNOWN.contains(&name) || is_iam_variable(name) {
                Ok(())
            } else {
                Err(PolicyError::UnknownPlaceholder(format!("${{{name}}}")))
            }
        }),
        Value::Array(list) => list.iter().try_for_each(check_strings),
        Value::Object(members) => members.iter().try_for_each(|(key, value)| {
            if key.contains('$') {
                return Err(shape("has a placeholder in a key"));
            }
            check_strings(value)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }?;
    let plain = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{ff}');
    match json {
        Value::String(text) if !text.chars().all(plain) => {
            Err(shape("holds a character that AWS does not take"))
        }
        _ => Ok(()),
    }
}

fn check_statement(statement: &Map<String, Value>) -> Result<(), PolicyError> {
    match statement.get("Effect").and_then(Value::as_str) {
        Some("Deny") => return Ok(()),
        Some("Allow") => {}
        _ => return Err(shape("has a Statement whose Effect is neither Allow nor Deny")),
    }
    if ["NotAction", "NotResource", "Principal", "NotPrincipal"]
        .iter()
        .any(|key| statement.contains_key(*key))
    {
        return Err(shape(
            "allows by NotAction or NotResource, or names a Principal; say what is allowed instead",
        ));
    }
    let resources = strings(statement.get("Resource"));
    if resources.is_empty() || !statement.contains_key("Action") {
        return Err(shape("has an Allow without Action or Resource"));
    }
    // ListBucket is bound by its condition on s3:prefix, everything else by its resources.
    if resources.iter().all(|text| is_bound(text)) || has_binding_condition(statement.get("Condition")) {
        Ok(())
    } else {
        Err(shape(
            "has an Allow whose resources (or conditions) are not bound to ${wallet} or ${prefix}, so it would reach other wallets",
        ))
    }
}

fn is_bound(text: &str) -> bool {
    placeholders(text).any(|name| name == WALLET || name == PREFIX)
}

/// Conditions must all hold, so one that only the wallet can meet suffices. An
/// operator that is negated, or that passes where the key is absent, binds nothing.
fn has_binding_condition(conditions: Option<&Value>) -> bool {
    ["StringEquals", "StringLike"].iter().filter_map(|operator| conditions?.get(*operator)?.as_object()).any(
        |keys| {
            keys.values().any(|values| {
                let listed = strings(Some(values));
                !listed.is_empty() && listed.iter().all(|text| is_bound(text))
            })
        },
    )
}

/// All strings in a value, however deep.
fn strings(json: Option<&Value>) -> Vec<&str> {
    match json {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(list)) => list.iter().flat_map(|value| strings(Some(value))).collect(),
        Some(Value::Object(members)) => members.values().flat_map(|value| strings(Some(value))).collect(),
        _ => Vec::new(),
    }
}

/// The names between `${` and `}`; an open brace that is never closed is a name too.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split("${").skip(1).map(|rest| rest.split_once('}').map_or(rest, |(name, _)| name))
}

/// `${aws:…}`, `${s3:…}`, and the three escapes `${*}`, `${?}` and `${$}`.
fn is_iam_variable(name: &str) -> bool {
    matches!(name, "*" | "?" | "$")
        || name.split_once(':').is_some_and(|(service, key)| {
            !service.is_empty()
                && service.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !key.is_empty()
                && !key.contains(['$', '{'])
        })
}

fn fill_strings(json: &mut Value, values: &[(&'static str, &str)]) {
    match json {
        Value::String(text) => {
            for (name, value) in values {
                let mark = format!("${{{name}}}");
                if text.contains(&mark) {
                    *text = text.replace(&mark, value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| fill_strings(value, values)),
        Value::Object(members) => members.values_mut().for_each(|value| fill_strings(value, values)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn shape(reason: &str) -> PolicyError {
    PolicyError::Shape(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(members: &str) -> Result<Template, PolicyError> {
        Template::parse(&format!(r#"{{"Version":"2012-10-17","Statement":[{{{members}}}]}}"#))
    }

    #[test]
    fn templates_that_would_not_keep_wallets_apart_are_refused() {
        for members in [
            r#""Effect":"Allow","Action":"*","Resource":"*""#,
            r#""Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::${bucket}/*""#,
            r#""Effect":"Allow","Action":"s3:GetObject","Resource":["arn:aws:s3:::b/${wallet}/*","arn:aws:s3:::b/*"]"#,
            r#""Effect":"Allow","NotAction":"iam:*","Resource":"arn:aws:s3:::b/${wallet}/*""#,
            r#""Effect":"Allow","Action":"s3:*","NotResource":"arn:aws:s3:::b/${wallet}/*""#,
            r#""Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::b","Condition":{"StringLike":{"s3:prefix":["*","${prefix}*"]}}"#,
            r#""Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::b","Condition":{"StringNotLike":{"s3:prefix":"${prefix}*"}}"#,
            r#""Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::b","Condition":{"StringLikeIfExists":{"s3:prefix":"${prefix}*"}}"#,
            r#""Effect":"Allow","Action":"s3:*""#,
            r#""Effect":"allow","Action":"s3:*","Resource":"${wallet}""#,
            r#""Action":"s3:*","Resource":"${wallet}""#,
        ] {
            assert!(matches!(statement(members), Err(PolicyError::Shape(_))), "{members}");
        }
        for members in [
            r#""Effect":"Deny","Action":"s3:*","Resource":"*""#,
            r#""Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::b","Condition":{"StringLike":{"s3:prefix":["${prefix}*"]},"Bool":{"aws:SecureTransport":"true"}}"#,
        ] {
            statement(members).unwrap();
        }
    }

    #[test]
    fn unknown_placeholders_are_named() {
        for name in ["walet", "Wallet", "WALLET", "", "wallet ", "aws:", ":x", "wallet:${bucket"] {
            let members =
                format!(r#""Effect":"Allow","Action":"s3:GetObject","Resource":"x/${{wallet}}/${{{name}}}""#);
            let outcome = statement(&members);
            assert!(matches!(outcome, Err(PolicyError::UnknownPlaceholder(_))), "{name}: {outcome:?}");
        }
        for name in ["aws:PrincipalTag/agentkeys_user_wallet", "*", "?", "$", "s3:prefix"] {
            let members =
                format!(r#""Effect":"Allow","Action":"s3:GetObject","Resource":"x/${{wallet}}/${{{name}}}""#);
            statement(&members).unwrap();
        }
        assert!(Template::parse(r#"{"Version":"2012-10-17","Statement":[],"${wallet}":1}"#).is_err());
    }

    #[test]
    fn only_policies_of_the_current_version_have_variables() {
        for text in
            ["", "[]", "{}", r#"{"Version":"2008-10-17","Statement":[]}"#, r#"{"Version":"2012-10-17"}"#]
        {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_enter_strings_and_never_the_syntax() {
        let template =
            statement(r#""Effect":"Allow","Action":"s3:GetObject","Resource":"b/${wallet}/*""#).unwrap();
        let filled = template.fill(&[(WALLET, "0xabc")]).unwrap();
        assert_eq!(filled["Statement"][0]["Resource"], "b/0xabc/*");
        for value in ["", "*", "a*", "a?", "${aws:username}", "a\",\"b", "a b", "\u{1f511}"] {
            assert_eq!(template.fill(&[(WALLET, value)]), Err(PolicyError::UnsafeValue(WALLET)), "{value}");
        }
    }
}
