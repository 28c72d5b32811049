//! The ARN of an IAM role, taken apart once.

use std::fmt;
use std::str::FromStr;

/// `arn:<partition>:iam::<account>:role/[<path>/]<name>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoleArn {
    text: String,
    partition: String,
    account: String,
    name: String,
}

/// The text is not a role's ARN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role's ARN reads arn:aws:iam::123456789012:role/name")]
pub struct InvalidRoleArn;

impl RoleArn {
    /// The ARN of a role by its name in an account.
    pub fn in_account(partition: &str, account: &str, name: &str) -> Result<Self, InvalidRoleArn> {
        format!("arn:{partition}:iam::{account}:role/{name}").parse()
    }

    /// The ARN.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub fn partition(&self) -> &str {
        &self.partition
    }

    /// Twelve digits.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The role's name, without its path: what an assumed role's ARN shows.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Is this a partition's name?
pub fn is_partition(text: &str) -> bool {
    text.len() <= 32
        && text.starts_with("aws")
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Is this an account's id?
pub fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

impl FromStr for RoleArn {
    type Err = InvalidRoleArn;

    fn from_str(text: &str) -> Result<Self, InvalidRoleArn> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let &["arn", partition, "iam", "", account, resource] = parts.as_slice() else {
            return Err(InvalidRoleArn);
        };
        let path = resource.strip_prefix("role/").ok_or(InvalidRoleArn)?;
        let name = path.rsplit('/').next().unwrap_or_default();
        let name_ok = (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b));
        let path_ok =
            path.split('/').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic()))
                && !path.contains(['*', '?', '$', '"', '\\']);
        if text.len() > 2048 || !is_partition(partition) || !is_account(account) || !name_ok || !path_ok {
            return Err(InvalidRoleArn);
        }
        Ok(Self {
            text: text.to_owned(),
            partition: partition.to_owned(),
            account: account.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_of_all_partitions_and_nothing_else() {
        let role: RoleArn = "arn:aws-us-gov:iam::123456789012:role/team/a/agentkeys-agent".parse().unwrap();
        assert_eq!(
            (role.partition(), role.account(), role.name()),
            ("aws-us-gov", "123456789012", "agentkeys-agent")
        );
        for text in [
            "",
            "agentkeys-agent",
            "arn:aws:iam::123456789012:user/agentkeys-daemon",
            "arn:aws:sts::123456789012:assumed-role/agentkeys-agent/x",
            "arn:aws:iam::12345678901:role/a",
            "arn:aws:iam:us-east-1:123456789012:role/a",
            "arn:evil:iam::123456789012:role/a",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role//a",
            "arn:aws:iam::123456789012:role/a*",
            "arn:aws:iam::123456789012:role/${aws:username}",
            "arn:aws:iam::123456789012:role/a b",
        ] {
            assert_eq!(text.parse::<RoleArn>(), Err(InvalidRoleArn), "{text}");
        }
    }
}
