//! The texts with a grammar of their own: regions, ARNs, buckets, prefixes,
//! domains, log levels, filters.

use agentkeys_filters::FilterConfig;

use super::document::Value;
use super::scalar::{Read, text};
use super::settings::RoleArn;
use super::table::Key;
use super::url::BaseUrl;

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

pub(super) fn arn(value: &Value, _: &Key) -> Read<RoleArn> {
    let how = "'auto' or a full ARN such as arn:aws:iam::123456789012:role/agentkeys-agent";
    let arn = text(value, how)?;
    if arn == "auto" {
        return Ok(RoleArn::Auto);
    }
    let parts: Vec<_> = arn.splitn(6, ':').collect();
    let [_, partition, _, _, account, resource] = parts[..] else {
        return Err(format!("is no role ARN; write {how}"));
    };
    let sound = arn.starts_with("arn:")
        && (partition == "aws" || partition.starts_with("aws-"))
        && parts[2] == "iam"
        && parts[3].is_empty()
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && resource.strip_prefix("role/").is_some_and(|name| {
            !name.is_empty()
                && !name.ends_with('/')
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=,.@-_/".contains(&b))
        })
        && arn.len() <= 2048;
    if sound { Ok(RoleArn::Given(arn.to_owned())) } else { Err(format!("is no role ARN; write {how}")) }
}

pub(super) fn bucket(value: &Value, _: &Key) -> Read<Option<String>> {
    let how = "'auto' or a bucket's name: 3 to 63 of a-z, 0-9, '.' and '-'";
    let name = text(value, how)?;
    if name == "auto" {
        return Ok(None);
    }
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let sound = (3..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b))
        && edge(name.bytes().next())
        && edge(name.bytes().last())
        && !name.contains("..");
    if sound { Ok(Some(name.to_owned())) } else { Err(format!("is no bucket; write {how}")) }
}

/// Isolation rests on it: whatever it lets through is what a wallet reaches.
pub(super) fn prefix(value: &Value, _: &Key) -> Read<String> {
    let how = "a prefix such as bots/${wallet}/";
    let prefix = text(value, how)?;
    let segments: Vec<_> = prefix.split('/').collect();
    let Some((last, named)) = segments.split_last() else { return Err(format!("write {how}")) };
    let wallets = named.iter().filter(|segment| **segment == "${wallet}").count();
    let plain = named.iter().all(|segment| {
        *segment == "${wallet}"
            || (!segment.is_empty()
                && !matches!(*segment, "." | "..")
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-=".contains(&b)))
    });
    if !last.is_empty() {
        return Err("must end with a slash, or one wallet's prefix begins another's".to_owned());
    }
    if wallets != 1 {
        return Err(format!("must hold ${{wallet}} once, as a whole segment; write {how}"));
    }
    if !plain || prefix.len() > 256 {
        return Err(
            "may hold letters, digits, '.', '_', '-' and '=' between its slashes, and no leading slash"
                .to_owned(),
        );
    }
    Ok(prefix.to_owned())
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
    fn a_prefix_keeps_wallets_apart() {
        for good in ["bots/${wallet}/", "${wallet}/", "a/b/${wallet}/inbound/"] {
            assert!(read(prefix, good).is_ok(), "{good}");
        }
        for bad in [
            "bots/${wallet}",
            "bots/",
            "/bots/${wallet}/",
            "bots/x${wallet}/",
            "bots/${wallet}/${wallet}/",
            "bots/*/${wallet}/",
            "bots/../${wallet}/",
            "bots//${wallet}/",
            "bots/${aws:username}/${wallet}/",
        ] {
            assert!(read(prefix, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_aws() {
        for good in ["us-east-1", "us-gov-west-1", "eusc-de-east-1"] {
            assert!(read(region, good).is_ok(), "{good}");
        }
        for bad in ["us", "US-EAST-1", "us-east-1.evil.example", "us-east-", "useast1", "us/east-1"] {
            assert!(read(region, bad).is_err(), "{bad}");
        }
        for good in ["auto", "arn:aws:iam::123456789012:role/a", "arn:aws-cn:iam::123456789012:role/p/a"] {
            assert!(read(arn, good).is_ok(), "{good}");
        }
        for bad in [
            "arn:aws:iam::123:role/a",
            "arn:aws:iam::123456789012:user/a",
            "arn:aws:sts::123456789012:role/a",
            "arn:aws:iam:us-east-1:123456789012:role/a",
            "arn:evil:iam::123456789012:role/a",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role/*",
            "agentkeys-agent",
        ] {
            assert!(read(arn, bad).is_err(), "{bad}");
        }
        for bad in ["a", "A-bucket", "-bucket", "bucket-", "a..b", "b/ucket"] {
            assert!(read(bucket, bad).is_err(), "{bad}");
        }
        for bad in ["dev", "Bots.example.dev", "bots..dev", "-a.dev", "a b.dev"] {
            assert!(read(domain, bad).is_err(), "{bad}");
        }
    }
}
