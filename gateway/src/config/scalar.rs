//! One value at a time: is it of its key's type and within its range? Messages
//! say what to write and never what was written.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use agentkeys_core::duration;
use ipnet::IpNet;

use super::document::Value;
use super::suggest;
use super::table::{Key, Kind};

pub(super) type Read<T> = Result<T, String>;

/// A non-empty text of one line.
pub(super) fn text<'v>(value: &'v Value, what: &str) -> Read<&'v str> {
    match value {
        Value::Text(text) if text.is_empty() => Err(format!("is empty; write {what}")),
        Value::Text(text) if text.chars().any(char::is_control) => {
            Err(format!("holds a line break or another control character; write {what}"))
        }
        Value::Text(text) if text.trim() != text => {
            Err(format!("begins or ends with white space; write {what}"))
        }
        Value::Text(text) => Ok(text),
        Value::Null => Err(format!("is null; write {what}, or remove the line for the default")),
        Value::Integer(_) | Value::OtherNumber | Value::Bool(_) => {
            Err(format!("is {}; write {what} (in quotes, where it looks like one)", value.kind()))
        }
        other => Err(format!("is {}; write {what}", other.kind())),
    }
}

pub(super) fn choice(value: &Value, key: &Key) -> Read<&'static str> {
    let Kind::Choice(words) = key.kind else { return Err(mismatch(key)) };
    let known = words.join(", ");
    // YAML reads a bare `off` as a text, `true` as a flag.
    let text = text(value, &format!("one of {known}"))?;
    words.iter().find(|word| **word == text).copied().ok_or_else(|| {
        match suggest::nearest(text, words.iter().copied()) {
            Some(near) => format!("must be one of {known}; did you mean '{near}'?"),
            None => format!("must be one of {known}"),
        }
    })
}

pub(super) fn duration(value: &Value, key: &Key) -> Read<Duration> {
    let Kind::Duration(least, most) = key.kind else { return Err(mismatch(key)) };
    let how = "a whole number and a unit, such as 90s, 10m, 12h or 30d";
    if let Value::Integer(_) = value {
        return Err(format!("has no unit; write {how}"));
    }
    let found = duration::parse(text(value, how)?).map_err(|_| format!("is no duration; write {how}"))?;
    let bounds = (duration::parse(least), duration::parse(most));
    let (Ok(low), Ok(high)) = bounds else { return Err(mismatch(key)) };
    if (low..=high).contains(&found) {
        Ok(found)
    } else {
        Err(format!("must lie between {least} and {most}"))
    }
}

pub(super) fn integer(value: &Value, key: &Key) -> Read<i64> {
    let Kind::Integer(least, most) = key.kind else { return Err(mismatch(key)) };
    let range = format!("a whole number between {least} and {most}");
    match value {
        Value::Integer(number) if (least..=most).contains(number) => Ok(*number),
        Value::Integer(_) | Value::OtherNumber => Err(format!("must be {range}")),
        other => Err(format!("is {}; write {range}", other.kind())),
    }
}

pub(super) fn bytes(value: &Value, key: &Key) -> Read<usize> {
    let Kind::Bytes(least, most) = key.kind else { return Err(mismatch(key)) };
    let range = format!("a number of bytes between {least} and {most}, such as 65536, 64KiB or 1MiB");
    let number = match value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        Value::OtherNumber => None,
        other => {
            let text = text(other, &range)?;
            let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let unit = match &text[split..] {
                "" => Some(1),
                "KiB" => Some(1024),
                "MiB" => Some(1024 * 1024),
                _ => None,
            };
            text[..split].parse::<u64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit))
        }
    };
    number
        .filter(|number| (least..=most).contains(number))
        .and_then(|number| usize::try_from(number).ok())
        .ok_or_else(|| format!("must be {range}"))
}

pub(super) fn flag(value: &Value) -> Read<bool> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        other => Err(format!("is {}; write true or false", other.kind())),
    }
}

pub(super) fn address(value: &Value) -> Read<SocketAddr> {
    let how = "an IP address and a port, such as 127.0.0.1:8090 or [::1]:8090";
    text(value, how)?.parse().map_err(|_| format!("is no address; write {how}"))
}

pub(super) fn network(value: &Value) -> Read<IpNet> {
    let how = "a network such as 10.0.0.0/8 or fd00::/8, or one address";
    let text = text(value, how)?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let network: IpNet = text.parse().map_err(|_| format!("is no network; write {how}"))?;
    if network.prefix_len() == 0 {
        return Err(
            "trusts every address there is, so anybody could name a source; name your proxies".to_owned()
        );
    }
    if network.trunc() != network {
        return Err(format!("has bits set beyond its prefix; write {}", network.trunc()));
    }
    Ok(network)
}

fn mismatch(key: &Key) -> String {
    format!("the table gives {} another type than the reader expects", key.path)
}
