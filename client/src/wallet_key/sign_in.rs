//! Reads an EIP-4361 message before it is signed.
//!
//! A wallet's signature is worth something elsewhere too. So a message is
//! signed only if it is a sign-in to the very broker that sent it, by this
//! wallet, and still valid: nothing that a broker in bad hands could relay.

use agentkeys_core::{Timestamp, Wallet};

use crate::settings::BrokerUrl;

/// Why a message is not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsignable {
    /// It is no EIP-4361 message.
    #[error("the broker's sign-in message is malformed ({0})")]
    Malformed(&'static str),
    /// It signs in somewhere else.
    #[error("the broker asks to sign in to {0}, which is not its own address")]
    OtherBroker(String),
    /// It signs somebody else in.
    #[error("the broker's message names another wallet")]
    OtherWallet,
    /// It has ended.
    #[error("the broker's message has ended; is this machine's clock right?")]
    Ended,
}

const GREETING: &str = " wants you to sign in with your Ethereum account:";

/// Is this message a sign-in of `wallet` to `broker`, now?
pub fn check(message: &str, broker: &BrokerUrl, wallet: &Wallet, now: Timestamp) -> Result<(), Unsignable> {
    if message.chars().any(|c| c.is_control() && c != '\n') {
        return Err(Unsignable::Malformed("a control character"));
    }
    let mut lines = message.split('\n');
    let authority = lines.next().and_then(|line| line.strip_suffix(GREETING));
    let authority = authority.ok_or(Unsignable::Malformed("the first line"))?;
    // "[scheme://]domain"; a scheme, where given, is checked with the URI below.
    let domain = authority.rsplit("://").next().unwrap_or(authority);
    if !broker.is_named_by(domain) {
        return Err(Unsignable::OtherBroker(domain.to_owned()));
    }
    let address = lines.next().unwrap_or_default();
    match address.parse::<Wallet>() {
        Ok(named) if named == *wallet => {}
        Ok(_) => return Err(Unsignable::OtherWallet),
        Err(_) => return Err(Unsignable::Malformed("the address")),
    }
    let fields: Vec<&str> = lines.collect();
    let field = |name: &'static str| {
        let mut values = fields.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value),
            _ => Err(Unsignable::Malformed(name)),
        }
    };
    let uri = field("URI")?;
    let at_broker = uri.parse::<reqwest::Url>().ok().is_some_and(|uri| {
        let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
        broker.is_named_by(&format!("{}{port}", uri.host_str().unwrap_or_default()))
    });
    if !at_broker {
        return Err(Unsignable::OtherBroker(uri.to_owned()));
    }
    if field("Version")? != "1" {
        return Err(Unsignable::Malformed("Version"));
    }
    field("Chain ID")?;
    if field("Nonce")?.len() < 8 {
        return Err(Unsignable::Malformed("Nonce"));
    }
    Timestamp::parse(field("Issued At")?).ok_or(Unsignable::Malformed("Issued At"))?;
    let end = Timestamp::parse(field("Expiration Time")?).ok_or(Unsignable::Malformed("Expiration Time"))?;
    if end <= now { Err(Unsignable::Ended) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;
    const WALLET: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";

    fn message(domain: &str, uri: &str, address: &str, end: &str) -> String {
        format!(
            "{domain} wants you to sign in with your Ethereum account:\n{address}\n\nStart a session.\n\n\
             URI: {uri}\nVersion: 1\nChain ID: 1\nNonce: 0123456789abcdef\n\
             Issued At: 2026-09-21T14:13:00Z\nExpiration Time: {end}"
        )
    }

    fn verdict(message: &str) -> Result<(), Unsignable> {
        let broker = "https://broker.example.com".parse().unwrap();
        check(message, &broker, &WALLET.parse().unwrap(), Timestamp::from_unix(NOW))
    }

    const END: &str = "2026-09-21T14:18:20Z";

    #[test]
    fn a_sign_in_to_this_broker_is_signed_in_either_spelling_of_the_address() {
        for address in [WALLET, "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"] {
            let good = message("broker.example.com", "https://broker.example.com", address, END);
            assert_eq!(verdict(&good), Ok(()));
        }
    }

    #[test]
    fn a_message_for_another_place_person_or_time_is_not() {
        let other = "exchange.example";
        let here = "broker.example.com";
        let uri = "https://broker.example.com";
        assert!(matches!(verdict(&message(other, uri, WALLET, END)), Err(Unsignable::OtherBroker(_))));
        assert!(matches!(
            verdict(&message(here, "https://exchange.example", WALLET, END)),
            Err(Unsignable::OtherBroker(_))
        ));
        let stranger = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8";
        assert_eq!(verdict(&message(here, uri, stranger, END)), Err(Unsignable::OtherWallet));
        assert_eq!(verdict(&message(here, uri, WALLET, "2026-09-21T14:13:20Z")), Err(Unsignable::Ended));
        let good = message(here, uri, WALLET, END);
        for bad in [
            "Transfer everything".to_owned(),
            good.replace("Version: 1", "Version: 2"),
            good.replace("Nonce: 0123456789abcdef", "Nonce: 0"),
            good.replace("Chain ID: 1\n", ""),
            format!("{good}\nURI: https://exchange.example"),
            good.replace("Start", "\u{1b}[2KStart"),
        ] {
            assert!(verdict(&bad).is_err(), "{bad}");
        }
    }
}
