//! The AWS account that the broker mints for: its id, roles, bucket and prefix.
//!
//! `auto` values rest on the account of the daemon key, which is learned once in
//! the background. Until then whoever needs it gets a 503, never a guess.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentkeys_core::wire::Environment;
use agentkeys_core::{Code, Problem, RoleAlias, Wallet};
use arc_swap::ArcSwapOption;

use crate::exchange::{PrefixTemplate, RoleArn};

/// The role that `arn: auto` stands for.
pub(crate) const AUTO_ROLE: &str = "agentkeys-agent";
/// The bucket that `bucket: auto` stands for, before the account's id.
pub(crate) const AUTO_BUCKET: &str = "agentkeys-mail-";

/// An AWS account, as the daemon key's identity shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Twelve digits.
    pub id: String,
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub partition: String,
}

/// A value that is written in the configuration, or follows from the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auto<T> {
    /// From the account.
    Auto,
    /// As written.
    Given(T),
}

/// What lies where.
pub struct Deployment {
    /// The AWS region.
    pub region: String,
    /// The roles by alias.
    pub roles: BTreeMap<RoleAlias, Auto<RoleArn>>,
    /// The bucket.
    pub bucket: Auto<String>,
    /// The wallet's own part of the bucket.
    pub prefix: PrefixTemplate,
    /// The mail domain.
    pub mail_domain: String,
    /// Another S3 endpoint for clients.
    pub s3_endpoint: Option<String>,
    account: ArcSwapOption<Account>,
}

impl Deployment {
    /// A deployment whose account is not known yet.
    pub fn new(
        region: String,
        roles: BTreeMap<RoleAlias, Auto<RoleArn>>,
        bucket: Auto<String>,
        prefix: PrefixTemplate,
        mail_domain: String,
        s3_endpoint: Option<String>,
    ) -> Self {
        Self { region, roles, bucket, prefix, mail_domain, s3_endpoint, account: ArcSwapOption::empty() }
    }

    /// Does anything follow from the account?
    pub fn needs_account(&self) -> bool {
        self.bucket == Auto::Auto || self.roles.values().any(|arn| *arn == Auto::Auto)
    }

    /// The account, once known.
    pub fn account(&self) -> Option<Arc<Account>> {
        self.account.load_full()
    }

    /// Learns the account.
    pub fn learn(&self, account: Account) {
        self.account.store(Some(Arc::new(account)));
    }

    /// The ARN of a role.
    pub fn role_arn(&self, alias: &RoleAlias) -> Result<RoleArn, Problem> {
        match self.roles.get(alias) {
            None => Err(Problem::internal(format!("the role '{alias}' was granted but is not configured"))),
            Some(Auto::Given(arn)) => Ok(arn.clone()),
            Some(Auto::Auto) => {
                let account = self.known()?;
                RoleArn::in_account(&account.partition, &account.id, AUTO_ROLE).map_err(Problem::internal)
            }
        }
    }

    /// The bucket.
    pub fn bucket(&self) -> Result<String, Problem> {
        match &self.bucket {
            Auto::Given(name) => Ok(name.clone()),
            Auto::Auto => Ok(format!("{AUTO_BUCKET}{}", self.known()?.id)),
        }
    }

    /// All that a client of this wallet needs besides credentials.
    pub fn environment(&self, wallet: &Wallet) -> Result<Environment, Problem> {
        Ok(Environment {
            region: self.region.clone(),
            bucket: self.bucket()?,
            prefix: self.prefix.of(wallet),
            mail_domain: self.mail_domain.clone(),
            signup_address: format!("{wallet}@{}", self.mail_domain),
            s3_endpoint: self.s3_endpoint.clone(),
        })
    }

    fn known(&self) -> Result<Arc<Account>, Problem> {
        self.account().ok_or_else(|| {
            Problem::new(Code::NotReady, "The broker does not know its AWS account yet; try again shortly.")
                .because("GetCallerIdentity has not answered: see the readiness check 'aws_account'")
                .retry_after(Duration::from_secs(2))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment() -> Deployment {
        let roles = BTreeMap::from([("agent".parse().unwrap(), Auto::Auto)]);
        Deployment::new(
            "eu-west-1".into(),
            roles,
            Auto::Auto,
            PrefixTemplate::parse("bots/${wallet}/").unwrap(),
            "bots.example.dev".into(),
            None,
        )
    }

    #[test]
    fn nothing_is_guessed_before_the_account_is_known() {
        let deployment = deployment();
        let alias = "agent".parse().unwrap();
        assert_eq!(deployment.role_arn(&alias).unwrap_err().code, Code::NotReady);
        assert_eq!(deployment.bucket().unwrap_err().code, Code::NotReady);
        deployment.learn(Account { id: "123456789012".into(), partition: "aws-cn".into() });
        assert_eq!(
            deployment.role_arn(&alias).unwrap().as_str(),
            "arn:aws-cn:iam::123456789012:role/agentkeys-agent"
        );
        assert_eq!(deployment.bucket().unwrap(), "agentkeys-mail-123456789012");
    }
}
