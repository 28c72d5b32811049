//! The URLs of other services: an origin, with a path where wanted, and
//! nothing that two readers could understand differently.

use std::net::IpAddr;

use http::Uri;

/// A URL that was looked at once and is then used byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaseUrl {
    text: String,
    host: String,
    https: bool,
}

impl BaseUrl {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let how = "write it as https://host or https://host/path";
        if text.contains(['?', '#']) {
            return Err("must have no query and no fragment".to_owned());
        }
        if text.ends_with('/') {
            return Err("must not end with a slash; remove it".to_owned());
        }
        let https = match text.split_once("://") {
            Some(("https", _)) => true,
            Some(("http", _)) => false,
            _ => return Err(format!("is no http or https URL; {how}")),
        };
        let uri: Uri = text.parse().map_err(|_| format!("is no URL; {how}"))?;
        let authority = uri.authority().ok_or_else(|| format!("has no host; {how}"))?;
        if authority.as_str().contains('@') {
            return Err("must hold no user name and no password; remove them".to_owned());
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(format!("has no host; {how}"));
        }
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err("must have its host in lower case".to_owned());
        }
        if authority.as_str().len() > host.len() && authority.port_u16().is_none() {
            return Err("has a port that is no number between 1 and 65535".to_owned());
        }
        if uri.path().split('/').any(|segment| matches!(segment, "." | "..")) || uri.path().contains("//") {
            return Err("must have a plain path, without '.', '..' or empty segments".to_owned());
        }
        Ok(Self { text: text.to_owned(), host: host.to_owned(), https })
    }

    /// The URL as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host, without a port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Is it https?
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Does it name this machine only?
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.ends_with(".localhost")
            || self.ip().is_some_and(|address| address.is_loopback())
    }

    fn ip(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_readers_could_understand_differently_is_refused() {
        for (text, why) in [
            ("https://broker.example.dev/", "end with a slash"),
            ("https://broker.example.dev?x=1", "no query"),
            ("https://broker.example.dev#x", "no fragment"),
            ("https://Broker.example.dev", "lower case"),
            ("https://user:pw@broker.example.dev", "no user name"),
            ("https://broker.example.dev/a/../b", "plain path"),
            ("https://broker.example.dev:", "port"),
            ("https://broker.example.dev:99999", "port"),
            ("ftp://broker.example.dev", "no http or https"),
            ("broker.example.dev", "no http or https"),
            ("HTTPS://broker.example.dev", "no http or https"),
            ("https://", "end with a slash"),
            ("https://b roker", "no URL"),
        ] {
            let error = BaseUrl::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn who_can_reach_it() {
        for (text, loopback) in [
            ("http://localhost:4566", true),
            ("http://[::1]:4566", true),
            ("http://127.8.0.1", true),
            ("https://sts.us-east-1.amazonaws.com", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(BaseUrl::parse(text).unwrap().is_loopback(), loopback, "{text}");
        }
    }
}
