//! The broker's address in one canonical spelling, since sessions are kept by it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;
use serde::{Deserialize, Serialize};

/// An http(s) URL without a trailing slash, user, query or fragment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BrokerUrl(Url);

/// The text is not a broker's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the broker's address, such as https://broker.example.com or http://localhost:8090")]
pub struct InvalidBrokerUrl;

impl BrokerUrl {
    /// Where a local broker answers.
    pub const LOCAL: &str = "http://localhost:8090";

    /// The address of a path at this broker; `path` begins with `/`.
    pub fn at(&self, path: &str) -> Result<Url, InvalidBrokerUrl> {
        format!("{self}{path}").parse().map_err(|_| InvalidBrokerUrl)
    }

    /// Can nobody on the network read along?
    pub fn is_private(&self) -> bool {
        self.is_https() || self.is_loopback()
    }

    /// Is it https?
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Is it this machine?
    pub fn is_loopback(&self) -> bool {
        self.0.host_str().is_some_and(is_loopback_name)
    }

    /// `host` or `host:port`, as a sign-in message names the broker.
    pub fn authority(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        match self.0.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Does `authority` (of a message to sign) name this broker? Every name of
    /// this machine is the same machine; the port must still agree.
    pub fn is_named_by(&self, authority: &str) -> bool {
        let Ok(Self(other)) = format!("{}://{authority}", self.0.scheme()).parse::<Self>() else {
            return false;
        };
        let same_host = self.0.host_str() == other.host_str()
            || (self.is_loopback() && other.host_str().is_some_and(is_loopback_name));
        same_host && self.0.port_or_known_default() == other.port_or_known_default()
    }
}

fn is_loopback_name(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl FromStr for BrokerUrl {
    type Err = InvalidBrokerUrl;

    fn from_str(text: &str) -> Result<Self, InvalidBrokerUrl> {
        let mut url: Url = text.trim().parse().map_err(|_| InvalidBrokerUrl)?;
        let plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() || !plain {
            return Err(InvalidBrokerUrl);
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }
}

impl TryFrom<String> for BrokerUrl {
    type Error = InvalidBrokerUrl;

    fn try_from(text: String) -> Result<Self, InvalidBrokerUrl> {
        text.parse()
    }
}

impl From<BrokerUrl> for String {
    fn from(url: BrokerUrl) -> Self {
        url.to_string()
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}
