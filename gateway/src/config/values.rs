//! The texts with a grammar of their own: regions, ARNs, buckets, prefixes,
//! domains, log levels, filters.

use agentkeys_filters::FilterConfig;

use super::document::Value;
use super::scalar::{Read, text};
use super::settings::RoleArn;
use super::table::Key;
use super::url::BaseUrl;
use crate::exchange::{self, PrefixTemplate};
use crate::issuer::IssuerUrl;

pub(super) fn url(value: &Value, _: &Key) -> Read<BaseUrl> {
    BaseUrl::parse(text(value, "a URL such as https://host")?)
}

/// It becomes part of a host name, so only what AWS uses in a region passes.
pub(super) fn region(value: &Value, _: &Key) -> Read<String> {
    let how = "an AWS region such as us-east-1";
    let region = text(value, how)?;
    let parts: Vec<_> = region.split('-').collect();
    let plain = parts.len() >= 3
        && region.len() <= 32
        && parts.iter().all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
        && parts.last().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    if plain { Ok(region.to_owned()) } else { Err(format!("is no region; write {how}")) }
}

pub(super) fn issuer(value: &Value, _: &Key) -> Read<IssuerUrl> {
    IssuerUrl::parse(text(value, "a URL such as https://host")?).map_err(|error| error.to_string())
}

pub(super) fn arn(value: &Value, _: &Key) -> Read<RoleArn> {
    match text(value, "'auto' or a full ARN such as arn:aws:iam::123456789012:role/agentkeys-agent")? {
        "auto" => Ok(RoleArn::Auto),
        arn => match arn.parse::<exchange::RoleArn>() {
            Ok(_) => Ok(RoleArn::Given(arn.to_owned())),
            Err(error) => Err(format!("{error}; or write auto")),
        },
    }
}

pub(super) fn bucket(value: &Value, _: &Key) -> Read<Option<String>> {
    let how = "'auto' or a bucket's name: 3 to 63 of a-z, 0-9, '.' and '-'";
    match text(value, how)? {
        "auto" => Ok(None),
        name if exchange::prefix::is_bucket(name) => Ok(Some(name.to_owned())),
        _ => Err(format!("is no bucket; write {how}")),
    }
}

/// Isolation rests on it: whatever it lets through is what a wallet reaches.
pub(super) fn prefix(value: &Value, _: &Key) -> Read<String> {
    let prefix = text(value, "a prefix such as bots/${wallet}/")?;
    PrefixTemplate::parse(prefix).map(|_| prefix.to_owned()).map_err(|error| error.to_string())
}

pub(super) fn domain(value: &Value, _: &Key) -> Read<String> {
    let how = "a lower-case domain such as bots.example.dev";
    let domain = text(value, how)?;
    let sound = domain.len() <= 253
        && domain.split('.').count() >= 2
        && domain.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        });
    if sound { Ok(domain.to_owned()) } else { Err(format!("is no domain; write {how}")) }
}

pub(super) fn level(value: &Value, _: &Key) -> Read<String> {
    let how = "error, warn, info, debug, trace or off, also per target: info,agentkeys_broker_server=debug";
    let text = text(value, how)?;
    let is_level = |word: &str| ["error", "warn", "info", "debug", "trace", "off"].contains(&word);
    let is_target = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:-".contains(&b))
    };
    // A bare word that is no level would be taken for a target, at level trace.
    let sound = text.split(',').all(|part| match part.split_once('=') {
        Some((target, level)) => is_target(target) && is_level(level),
        None => is_level(part),
    });
    if sound { Ok(text.to_owned()) } else { Err(format!("is no log level; write {how}")) }
}

/// `- name`, or `- name: settings`.
pub(super) fn filter(value: &Value) -> Read<FilterConfig> {
    let how = "a filter's name, or one name with its settings below it";
    let (name, settings) = match value {
        Value::Map(entries) => match &entries[..] {
            [(key, settings)] => (&key.value, settings.value.to_json()?),
            _ => return Err(format!("is a mapping of {} keys; write {how}", entries.len())),
        },
        other => (other, serde_json::Value::Null),
    };
    let name = text(name, how)?;
    let plain = name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b));
    if !plain {
        return Err("is no filter's name: a-z, 0-9, '_' and '-'".to_owned());
    }
    FilterConfig::parse(name, settings).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::table;

    fn read<T>(of: fn(&Value, &Key) -> Read<T>, text: &str) -> Read<T> {
        of(&Value::Text(text.to_owned()), table::row("issuer").unwrap())
    }

    #[test]
    fn names_of_aws() {
        for good in ["us-east-1", "us-gov-west-1", "eusc-de-east-1"] {
            assert!(read(region, good).is_ok(), "{good}");
        }
        for bad in ["us", "US-EAST-1", "us-east-1.evil.example", "us-east-", "useast1", "us/east-1"] {
            assert!(read(region, bad).is_err(), "{bad}");
        }
        for bad in ["dev", "Bots.example.dev", "bots..dev", "-a.dev", "a b.dev"] {
            assert!(read(domain, bad).is_err(), "{bad}");
        }
    }
}
