//! `enrolment: loopback`: only a program on this very machine may enrol. A web
//! page in a browser here, or a proxy that forwards from elsewhere, is not one.

use std::net::IpAddr;

use agentkeys_core::{Code, Problem};
use agentkeys_filters::Exchange;
use http::header;
use http::uri::Authority;

/// What a proxy adds: with any of these the request comes from somewhere else,
/// whatever the socket says.
const FORWARDED: [&str; 5] =
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];

/// Is this request from a program on this machine, to this broker?
pub fn check_local(exchange: &Exchange, own_authority: &str) -> Result<(), Problem> {
    let headers = &exchange.request.headers;
    // First the host: a page that rebinds a name to 127.0.0.1 still sends its own.
    let host = headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok())
        .or_else(|| exchange.request.uri.authority().map(Authority::as_str));
    if !host.is_some_and(|host| host.eq_ignore_ascii_case(own_authority) || is_loopback_host(host)) {
        return Err(Problem::new(
            Code::MisdirectedRequest,
            "Enrolment on this machine answers for localhost only.",
        )
        .because("Host is neither loopback nor the issuer's authority"));
    }
    let refused = |reason: &'static str| {
        Err(Problem::new(
            Code::EnrolmentRefused,
            "This broker enrols wallets from programs on its own machine only.",
        )
        .because(reason))
    };
    if !exchange.peer.is_loopback() {
        return refused("the peer is not on loopback");
    }
    if headers.contains_key(header::ORIGIN) {
        return refused("the request has an Origin: a browser made it");
    }
    if FORWARDED.iter().any(|name| headers.contains_key(*name)) {
        return refused("a proxy forwarded the request");
    }
    Ok(())
}

fn is_loopback_host(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    // User information has no place in a Host field.
    if authority.as_str().contains('@') {
        return false;
    }
    let name = authority.host();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use agentkeys_filters::Peer;
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn verdict(source: IpAddr, headers: &[(&str, &str)]) -> Option<Code> {
        let mut exchange = Exchange::for_test("/v1/sessions", source);
        for (name, value) in headers {
            exchange
                .request
                .headers
                .insert(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        check_local(&exchange, "broker.test:8090").err().map(|problem| problem.code)
    }

    #[test]
    fn only_a_program_on_this_machine_is_let_in() {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        for host in
            ["localhost:8090", "LOCALHOST", "127.0.0.1:8090", "127.1.2.3", "[::1]:8090", "broker.test:8090"]
        {
            assert_eq!(verdict(here, &[("host", host)]), None, "{host}");
        }
        for host in [
            "attacker.example",
            "localhost.attacker.example",
            "127.0.0.1.attacker.example",
            "localhost@attacker.example",
            "192.0.2.1",
            "broker.test",
            "broker.test:8091",
            "",
        ] {
            assert_eq!(verdict(here, &[("host", host)]), Some(Code::MisdirectedRequest), "{host}");
        }
        assert_eq!(verdict(here, &[]), Some(Code::MisdirectedRequest));
        let refused = Some(Code::EnrolmentRefused);
        let local = ("host", "localhost:8090");
        assert_eq!(verdict("192.0.2.1".parse().unwrap(), &[local]), refused);
        assert_eq!(verdict(here, &[local, ("origin", "http://localhost:8090")]), refused);
        assert_eq!(verdict(here, &[local, ("origin", "null")]), refused);
        for name in FORWARDED {
            assert_eq!(verdict(here, &[local, (name, "127.0.0.1")]), refused, "{name}");
        }
        let mut proxied = Exchange::for_test("/v1/sessions", here);
        proxied.request.headers.insert("host", HeaderValue::from_static("localhost"));
        proxied.peer = Peer { socket: Some("192.0.2.1".parse().unwrap()), source: Some(here), tls: false };
        assert_eq!(check_local(&proxied, "x").unwrap_err().code, Code::EnrolmentRefused);
    }
}
