//! The client's address: the socket's, or what trusted proxies say.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

/// The address that limits and the audit use. `X-Forwarded-For` counts only
/// where the socket's other end is a trusted proxy; it is then read from the
/// right, past further trusted proxies, to the first address that is not one:
/// everything left of it is the client's own claim. `None` where a trusted proxy
/// sent something unreadable: closed rather than guessed.
pub(super) fn source(socket: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let socket = socket.to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(&socket) {
        return Some(socket);
    }
    let mut hops = Vec::new();
    for value in headers.get_all("x-forwarded-for") {
        for hop in value.to_str().ok()?.split(',') {
            hops.push(hop.trim());
        }
    }
    let mut nearest = socket;
    for hop in hops.into_iter().rev() {
        nearest = parse(hop)?;
        if !is_trusted(&nearest) {
            break;
        }
    }
    Some(nearest)
}

/// An address with or without a port: proxies write both.
fn parse(hop: &str) -> Option<IpAddr> {
    let address = hop
        .parse::<IpAddr>()
        .or_else(|_| hop.parse::<std::net::SocketAddr>().map(|socket| socket.ip()))
        .or_else(|_| hop.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>())
        .ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source_of(socket: &str, forwarded: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        source(socket.parse().unwrap(), &headers, &trusted).map(|address| address.to_string())
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_its_own_word() {
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(source_of("192.0.2.1", &["198.51.100.7"]), is("192.0.2.1"));
        assert_eq!(source_of("10.0.0.1", &["198.51.100.7"]), is("198.51.100.7"));
        assert_eq!(source_of("10.0.0.1", &["203.0.113.9, 198.51.100.7"]), is("198.51.100.7"));
        assert_eq!(source_of("10.0.0.1", &["203.0.113.9", "198.51.100.7, 10.2.3.4"]), is("198.51.100.7"));
        assert_eq!(source_of("::ffff:10.0.0.1", &["198.51.100.7:4711"]), is("198.51.100.7"));
        assert_eq!(source_of("10.0.0.1", &["[2001:db8::1]:443"]), is("2001:db8::1"));
        assert_eq!(source_of("10.0.0.1", &[]), is("10.0.0.1"));
        assert_eq!(source_of("10.0.0.1", &["unknown"]), None);
    }
}
