//! The issuer's URL: byte-equal to `iss` in each token and to the provider that
//! is registered in IAM. It comes from the configuration and nowhere else.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A URL that may be an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerUrl {
    text: String,
    host: String,
    https: bool,
    port: Option<u16>,
}

/// Why a text is no issuer; each variant says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIssuerUrl {
    /// Neither `https://` nor `http://`.
    #[error("an issuer begins with https:// (or http:// on a loopback host)")]
    Scheme,
    /// http on a host that others reach.
    #[error("an http issuer is accepted on localhost and loopback addresses only; use https")]
    PlainHttp,
    /// No host, or not a host's spelling.
    #[error("an issuer needs a lower-case host name or address")]
    Host,
    /// Not a port.
    #[error("the issuer's port is not a number between 1 and 65535")]
    Port,
    /// A user and password.
    #[error("an issuer has no user name or password")]
    UserInfo,
    /// `?` or `#`.
    #[error("an issuer has no query and no fragment")]
    QueryOrFragment,
    /// It ends in `/`.
    #[error("an issuer has no trailing slash: AWS compares it byte by byte")]
    TrailingSlash,
    /// A path that URLs spell in more than one way.
    #[error(
        "the issuer's path may hold letters, digits and any of -._~/ only, without empty or dot segments"
    )]
    Path,
    /// Longer than IAM takes.
    #[error("an issuer is at most 255 characters long")]
    TooLong,
}

impl IssuerUrl {
    /// Reads a URL as an operator wrote it. What comes out prints the same bytes.
    pub fn parse(text: &str) -> Result<Self, InvalidIssuerUrl> {
        if text.len() > 255 {
            return Err(InvalidIssuerUrl::TooLong);
        }
        let (https, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(InvalidIssuerUrl::Scheme),
        };
        if rest.contains(['?', '#']) {
            return Err(InvalidIssuerUrl::QueryOrFragment);
        }
        if rest.ends_with('/') {
            return Err(InvalidIssuerUrl::TrailingSlash);
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(InvalidIssuerUrl::UserInfo);
        }
        let (host, port) = split_port(authority)?;
        if !is_host(host) {
            return Err(InvalidIssuerUrl::Host);
        }
        if !is_path(path) {
            return Err(InvalidIssuerUrl::Path);
        }
        if !https && !is_loopback(host) {
            return Err(InvalidIssuerUrl::PlainHttp);
        }
        Ok(Self { text: text.to_owned(), host: host.to_owned(), https, port })
    }

    /// The URL, byte for byte.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its host: a name, an IPv4 address or an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Is it served over TLS?
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Does its host name this very machine?
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// Could AWS fetch keys from it? https, no port (IAM takes none), and a host
    /// that is neither loopback nor of a private network.
    pub fn is_public_https(&self) -> bool {
        self.https && self.port.is_none() && !is_loopback(&self.host) && !is_private(self.host())
    }

    /// Where the key set is.
    pub fn jwks_uri(&self) -> String {
        format!("{}/.well-known/jwks.json", self.text)
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), InvalidIssuerUrl> {
    let after_bracket = authority.rfind(']').map_or(0, |at| at + 1);
    match authority[after_bracket..].rfind(':') {
        None => Ok((authority, None)),
        Some(at) => {
            let (host, port) = (&authority[..after_bracket + at], &authority[after_bracket + at + 1..]);
            let plain = !port.starts_with('0') && port.bytes().all(|b| b.is_ascii_digit());
            match port.parse::<u16>() {
                Ok(number) if plain => Ok((host, Some(number))),
                _ => Err(InvalidIssuerUrl::Port),
            }
        }
    }
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    host.len() <= 253
        && host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        })
}

fn is_path(path: &str) -> bool {
    path.is_empty()
        || path[1..].split('/').all(|segment| {
            !matches!(segment, "" | "." | "..")
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
        })
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn is_private(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => {
            let [a, b, ..] = v4.octets();
            v4.is_private()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_broadcast()
                || v4.is_documentation()
                || v4.is_multicast()
                || (a == 100 && (64..128).contains(&b))
        }
        Ok(IpAddr::V6(v6)) => {
            v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6.to_ipv4_mapped().is_some()
        }
        Err(_) => {
            let private = ["localhost", "local", "internal", "lan", "home", "corp", "test", "invalid"];
            !host.contains('.') || private.iter().any(|last| host.rsplit('.').next() == Some(last))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shapes_that_fail_only_at_aws_fail_here() {
        use InvalidIssuerUrl as E;
        for (text, wrong) in [
            ("broker.example.com", E::Scheme),
            ("ftp://broker.example.com", E::Scheme),
            ("HTTPS://broker.example.com", E::Scheme),
            ("http://broker.example.com", E::PlainHttp),
            ("http://127.0.0.1.example.com", E::PlainHttp),
            ("http://localhost.example.com", E::PlainHttp),
            ("https://broker.example.com/", E::TrailingSlash),
            ("https://broker.example.com/a/", E::TrailingSlash),
            ("https://", E::TrailingSlash),
            ("https://broker.example.com?x", E::QueryOrFragment),
            ("https://broker.example.com#x", E::QueryOrFragment),
            ("https://user@broker.example.com", E::UserInfo),
            ("https://user:secret@broker.example.com", E::UserInfo),
            ("https://Broker.example.com", E::Host),
            ("https://broker_.example.com", E::Host),
            ("https://broker..example.com", E::Host),
            ("https://999.1.1.1", E::Host),
            ("https://broker.example.com:0", E::Port),
            ("https://broker.example.com:070", E::Port),
            ("https://broker.example.com:99999", E::Port),
            ("https://broker.example.com:+80", E::Port),
            ("https://broker.example.com/a//b", E::Path),
            ("https://broker.example.com/../b", E::Path),
            ("https://broker.example.com/%2e", E::Path),
            ("https://broker.example.com/a b", E::Path),
        ] {
            // `https://` strips to nothing, which has no trailing slash but no host either.
            let wrong = if text == "https://" { E::Host } else { wrong };
            assert_eq!(IssuerUrl::parse(text), Err(wrong), "{text}");
        }
        assert_eq!(
            IssuerUrl::parse(&format!("https://a.example/{}", "x".repeat(255))),
            Err(InvalidIssuerUrl::TooLong)
        );
    }

    #[test]
    fn what_aws_can_reach_and_what_it_cannot() {
        for (text, public) in [
            ("https://broker.example.com", true),
            ("https://broker.example.com/team-a", true),
            ("https://203.0.114.7", true),
            ("https://broker.example.com:8443", false),
            ("https://localhost", false),
            ("https://broker", false),
            ("https://broker.internal", false),
            ("https://10.1.2.3", false),
            ("https://100.64.0.1", false),
            ("https://169.254.169.254", false),
            ("https://[fd00::1]", false),
            ("https://[::1]:8443", false),
            ("http://localhost:8090", false),
            ("http://127.0.0.1:8090", false),
            ("http://[::1]:8090", false),
        ] {
            let url = IssuerUrl::parse(text).unwrap();
            assert_eq!(url.is_public_https(), public, "{text}");
            assert_eq!(url.to_string(), text, "byte for byte");
        }
    }
}
