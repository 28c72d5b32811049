//! What the documents are rendered from: the configuration in force, with the
//! account filled in where it says `auto`.

use agentkeys_core::RoleAlias;

use super::partition::Partition;
use crate::config::{Settings, settings};
use crate::deployment::{AUTO_BUCKET, AUTO_ROLE};
use crate::exchange::role_arn::is_account;
use crate::exchange::{ExchangeMode, RoleArn};

/// Stands where the account is not known. It is no account, so AWS refuses it.
pub const PLACEHOLDER: &str = "ACCOUNT_ID";
/// The user whose key the broker holds.
pub const DAEMON_USER: &str = "agentkeys-daemon";

/// Everything that the documents name.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How credentials are got.
    pub mode: ExchangeMode,
    /// `iss`, byte for byte.
    pub issuer: String,
    /// The client id of the provider.
    pub audience: String,
    /// Does STS get a source identity?
    pub source_identity: bool,
    /// Twelve digits, or [`PLACEHOLDER`].
    pub account: String,
    /// `aws`, `aws-cn`, …
    pub partition: String,
    /// The region of the bucket.
    pub region: String,
    /// The roles.
    pub roles: Vec<Role>,
    /// The bucket.
    pub bucket: String,
    /// A wallet's own part of it, with IAM's variable for the wallet.
    pub prefix: String,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// One role.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its alias in broker.yaml.
    pub alias: RoleAlias,
    /// Its ARN.
    pub arn: String,
    /// Its name, without the path.
    pub name: String,
    /// `/` or `/team/`.
    pub path: String,
    /// The longest session that it allows.
    pub max_session_seconds: u32,
}

/// No documents can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// `--account` is none.
    #[error("--account: an account is twelve digits")]
    Account,
    /// The roles lie in another account than the one named.
    #[error("--account says {asked}, and roles.{alias}.arn lies in {found}")]
    OtherAccount {
        /// What was asked for.
        asked: String,
        /// The role.
        alias: RoleAlias,
        /// Where it lies.
        found: String,
    },
}

impl Plan {
    /// From the configuration; `account` where the operator named one.
    pub fn new(settings: &Settings, account: Option<&str>) -> Result<Self, PlanError> {
        if account.is_some_and(|account| !is_account(account)) {
            return Err(PlanError::Account);
        }
        let given: Vec<(&RoleAlias, RoleArn)> = settings
            .roles
            .iter()
            .filter_map(|(alias, role)| match &role.arn {
                settings::RoleArn::Auto => None,
                settings::RoleArn::Given(arn) => arn.parse().ok().map(|arn| (alias, arn)),
            })
            .collect();
        if let (Some(asked), Some((alias, arn))) =
            (account, given.iter().find(|(_, arn)| Some(arn.account()) != account))
        {
            return Err(PlanError::OtherAccount {
                asked: asked.to_owned(),
                alias: (*alias).clone(),
                found: arn.account().to_owned(),
            });
        }
        let first = given.first().map(|(_, arn)| arn);
        let account = account.or(first.map(RoleArn::account)).unwrap_or(PLACEHOLDER).to_owned();
        let partition =
            first.map_or(Partition::of_region(&settings.aws.region).name, RoleArn::partition).to_owned();
        let roles = settings
            .roles
            .iter()
            .map(|(alias, role)| {
                let arn = match &role.arn {
                    settings::RoleArn::Auto => format!("arn:{partition}:iam::{account}:role/{AUTO_ROLE}"),
                    settings::RoleArn::Given(arn) => arn.clone(),
                };
                Role::new(alias.clone(), arn, role.max_duration_seconds)
            })
            .collect();
        let mut plan = Self {
            mode: settings.aws.exchange.mode,
            issuer: settings.issuer.as_str().to_owned(),
            audience: settings.exchange_settings().token_audience,
            source_identity: settings.aws.source_identity == settings::SourceIdentity::Wallet,
            bucket: settings.environment.bucket.clone().unwrap_or_else(|| format!("{AUTO_BUCKET}{account}")),
            prefix: settings.environment.prefix.replace("${wallet}", super::documents::WALLET_VARIABLE),
            region: settings.aws.region.clone(),
            warnings: Vec::new(),
            account,
            partition,
            roles,
        };
        plan.warn(settings);
        Ok(plan)
    }

    /// The provider in `web_identity` mode.
    pub fn provider_arn(&self) -> String {
        format!("arn:{}:iam::{}:oidc-provider/{}", self.partition, self.account, self.provider_name())
    }

    /// What IAM's condition keys of the provider begin with: the issuer without its scheme.
    pub fn provider_name(&self) -> &str {
        self.issuer.split_once("://").map_or(self.issuer.as_str(), |(_, rest)| rest)
    }

    /// The daemon key's user.
    pub fn user_arn(&self) -> String {
        format!("arn:{}:iam::{}:user/{DAEMON_USER}", self.partition, self.account)
    }

    /// The bucket's ARN.
    pub fn bucket_arn(&self) -> String {
        format!("arn:{}:s3:::{}", self.partition, self.bucket)
    }

    fn warn(&mut self, settings: &Settings) {
        if self.account == PLACEHOLDER {
            self.warnings.push(format!(
                "the account is not known: {PLACEHOLDER} stands for it; name it with --account 123456789012"
            ));
        }
        if self.mode == ExchangeMode::WebIdentity && !settings.issuer.is_public_https() {
            self.warnings.push(format!(
                "IAM takes no provider at {}: AWS must reach it at a public https URL without a port",
                self.issuer
            ));
        }
        for (alias, role) in &settings.roles {
            if role.session_policy != settings::SessionPolicy::Default {
                self.warnings.push(format!(
                    "roles.{alias} has a session policy of its own: widen {} by what it allows besides the bucket",
                    super::documents::ROLE_POLICY
                ));
            }
        }
    }
}

impl Role {
    fn new(alias: RoleAlias, arn: String, max_session_seconds: u32) -> Self {
        let resource = arn.split_once(":role/").map_or(arn.as_str(), |(_, resource)| resource);
        let (path, name) = match resource.rsplit_once('/') {
            Some((path, name)) => (format!("/{path}/"), name.to_owned()),
            None => ("/".to_owned(), resource.to_owned()),
        };
        // IAM takes no less than an hour here, whatever a mint may ask for.
        Self { alias, name, path, max_session_seconds: max_session_seconds.max(3600), arn }
    }
}
