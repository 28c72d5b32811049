//! Who may ask over TCP: a program of this machine that meant this address.
//!
//! A web page can make a browser send requests here (DNS rebinding), and a
//! careless proxy can let other machines do so. Neither can do it without a
//! foreign `Host`, an `Origin`, or a forwarding header.

use std::net::SocketAddr;

use aws_lc_rs::constant_time;
use http::request::Parts;
use http::{HeaderMap, header};
use secrecy::{ExposeSecret, SecretString};

const FOREIGN: &[&str] = &[
    "origin",
    "referer",
    "cookie",
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
];
/// Whole families: what a proxy says of the hop before it, what a browser says of its page.
const FOREIGN_FAMILIES: &[&str] = &["x-forwarded-", "sec-fetch-"];

/// The address that this listener answers for.
#[derive(Clone, Debug)]
pub struct Guard {
    authorities: Vec<String>,
}

/// Why a request is not answered: it did not come straight from this machine.
#[derive(Debug, PartialEq, Eq)]
pub struct Foreign(pub String);

impl Guard {
    pub fn new(address: SocketAddr) -> Self {
        let mut authorities = vec![address.to_string()];
        if address.port() == 80 {
            // A client leaves out the default port.
            authorities.push(match address {
                SocketAddr::V4(v4) => v4.ip().to_string(),
                SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
            });
        }
        Self { authorities }
    }

    /// Refuses whatever did not come straight from this machine to this address.
    pub fn check(&self, parts: &Parts, peer: SocketAddr) -> Result<(), Foreign> {
        let forbidden = |why: &str| Err(Foreign(why.to_owned()));
        if !peer.ip().is_loopback() {
            return forbidden("only this machine may ask");
        }
        if let Some(name) = parts.headers.keys().find(|name| is_foreign(name.as_str())) {
            return forbidden(&format!("a request with {name} is not answered"));
        }
        let mut hosts = parts.headers.get_all(header::HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.as_bytes(),
            _ => return forbidden("a request needs exactly one Host"),
        };
        let in_target = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
        for named in [Some(host), in_target].into_iter().flatten() {
            if !self.authorities.iter().any(|own| own.as_bytes() == named) {
                return forbidden("this server does not answer for that Host");
            }
        }
        Ok(())
    }
}

fn is_foreign(name: &str) -> bool {
    FOREIGN.contains(&name) || FOREIGN_FAMILIES.iter().any(|family| name.starts_with(family))
}

/// Does `Authorization` carry this token, alone and as it stands?
pub fn is_authorized(headers: &HeaderMap, token: &SecretString) -> bool {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    match (given.next(), given.next()) {
        (Some(given), None) => {
            let own = token.expose_secret().as_bytes();
            constant_time::verify_slices_are_equal(given.as_bytes(), own).is_ok()
        }
        _ => false,
    }
}
