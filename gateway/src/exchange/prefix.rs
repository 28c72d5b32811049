//! Where a wallet's data lies: the bucket and the prefix that is its own.

use agentkeys_core::Wallet;

const PLACEHOLDER: &str = "${wallet}";

/// `environment.prefix`, such as `bots/${wallet}/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixTemplate(String);

/// The text cannot keep wallets apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrefix {
    /// `${wallet}` must be a whole path segment, once.
    #[error("a prefix holds ${{wallet}} exactly once, as a whole path segment, as in bots/${{wallet}}/")]
    Wallet,
    /// It must end in `/`.
    #[error("a prefix ends in '/': without it one wallet's prefix could begin another's")]
    Slash,
    /// Characters with a meaning in a policy.
    #[error(
        "besides ${{wallet}} a prefix holds letters, digits and any of -_.=/ without a leading '/', empty or dot segments"
    )]
    Characters,
}

impl PrefixTemplate {
    /// Reads a prefix as an operator wrote it.
    pub fn parse(text: &str) -> Result<Self, InvalidPrefix> {
        let inner = text.strip_suffix('/').ok_or(InvalidPrefix::Slash)?;
        if inner.split('/').filter(|segment| *segment == PLACEHOLDER).count() != 1 {
            return Err(InvalidPrefix::Wallet);
        }
        let plain = |segment: &str| {
            segment == PLACEHOLDER
                || (!matches!(segment, "" | "." | "..")
                    && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.=".contains(&b)))
        };
        if text.len() > 512 || !inner.split('/').all(plain) {
            return Err(InvalidPrefix::Characters);
        }
        Ok(Self(text.to_owned()))
    }

    /// The prefix of one wallet.
    pub fn of(&self, wallet: &Wallet) -> String {
        self.0.replace(PLACEHOLDER, wallet.as_str())
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Is this a bucket's name (S3's general rule)?
pub fn is_bucket(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    (3..=63).contains(&bytes.len())
        && bytes.iter().all(|b| alphanumeric(*b) || *b == b'-' || *b == b'.')
        && bytes.first().is_some_and(|b| alphanumeric(*b))
        && bytes.last().is_some_and(|b| alphanumeric(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_one_wallets_alone() {
        let wallet: Wallet = "0x52908400098527886e0f7030069857d2e4169ee7".parse().unwrap();
        let prefix = PrefixTemplate::parse("bots/${wallet}/").unwrap();
        assert_eq!(prefix.of(&wallet), "bots/0x52908400098527886e0f7030069857d2e4169ee7/");
        assert!(PrefixTemplate::parse("${wallet}/").is_ok());
        for (text, wrong) in [
            ("bots/${wallet}", InvalidPrefix::Slash),
            ("bots/", InvalidPrefix::Wallet),
            ("bots/x-${wallet}/", InvalidPrefix::Wallet),
            ("${wallet}/${wallet}/", InvalidPrefix::Wallet),
            ("*/${wallet}/", InvalidPrefix::Characters),
            ("/${wallet}/", InvalidPrefix::Characters),
            ("a/../${wallet}/", InvalidPrefix::Characters),
            ("${aws:username}/${wallet}/", InvalidPrefix::Characters),
            ("a?/${wallet}/", InvalidPrefix::Characters),
            ("a\"/${wallet}/", InvalidPrefix::Characters),
        ] {
            assert_eq!(PrefixTemplate::parse(text), Err(wrong), "{text}");
        }
        for bucket in ["", "ab", "*", "a*b", "A-b", "a/b", "-ab", "${x}", "a b"] {
            assert!(!is_bucket(bucket), "{bucket}");
        }
        assert!(is_bucket("agentkeys-mail-123456789012"));
    }
}
