//! A real exchange for a wallet that is nobody's, with the configuration's own
//! code. It is audited before and after, as every mint is.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentkeys_core::audit::{AuditEntry, Phase};
use agentkeys_core::store::AuditLog;
use agentkeys_core::{AwsCredentials, MintId, RoleAlias, Timestamp, Wallet};
use anyhow::Context;

use super::Doctor;
use super::row::Row;
use crate::assemble::roles;
use crate::aws::plan::{PLACEHOLDER, Role};
use crate::config::settings;
use crate::deployment::{Account, Deployment};
use crate::exchange::{self, CredentialExchange, ExchangeRequest, PolicyValues, SessionPolicy, session_name};
use crate::issuer::Issuer;
use crate::store::{AuditSettings, SqliteAudit};

const ACTION: &str = "aws_doctor";
/// AWS gives no credentials for less.
const SHORTEST: u32 = 900;

/// What mints need, made once.
pub(super) struct Mint {
    exchange: Arc<dyn CredentialExchange>,
    policies: BTreeMap<RoleAlias, SessionPolicy>,
    deployment: Deployment,
    audit: Arc<SqliteAudit>,
}

impl Doctor<'_> {
    /// The rows of the exchange and of its isolation.
    pub(super) async fn exchanges(&self) -> Vec<Row> {
        let checks = ["exchange", "isolation", "role_isolation"];
        let all = |make: &dyn Fn(String) -> Row| -> Vec<Row> {
            let roles = self.plan.roles.iter();
            roles.flat_map(|role| checks.map(|check| make(self.name(check, role)))).collect()
        };
        if !self.options.exchange {
            return all(&|name| Row::skip(name, "--no-exchange"));
        }
        if self.plan.account == PLACEHOLDER {
            return all(&|name| Row::skip(name, "the account is not known"));
        }
        if !self.settings.audit.path.exists() {
            let why = "nothing is minted without an audit, and this broker has none yet: start it once";
            return all(&|name| Row::skip(name, why));
        }
        let mint = match self.mint().await {
            Ok(mint) => mint,
            Err(error) => {
                let fix = "run the doctor as the broker's user, with its configuration and --data-dir";
                return all(&|name| Row::fail(name, format!("{error:#}"), fix));
            }
        };
        let mut rows = Vec::new();
        for role in &self.plan.roles {
            rows.extend(self.exchange_and_isolation(&mint, role).await);
        }
        if !mint.audit.close(self.settings.audit.write_deadline).await {
            let fix = "see #ready-audit in docs/operator-runbook.md";
            rows.push(Row::fail("audit", "the last records did not reach the disk in time", fix));
        }
        rows
    }

    async fn mint(&self) -> anyhow::Result<Mint> {
        let mut issuer = self.settings.issuer_settings()?;
        issuer.generate_missing = false;
        let (issuer, _) =
            Issuer::open(&issuer, self.metrics.clone(), Timestamp::now()).context("the signing keys")?;
        let settings = self.settings.exchange_settings();
        let (gate, key) = (self.gate.clone(), self.key.clone());
        let deployment = roles::deployment(self.settings)?;
        deployment.learn(Account { id: self.plan.account.clone(), partition: self.plan.partition.clone() });
        Ok(Mint {
            exchange: exchange::build(self.plan.mode, &settings, Arc::new(issuer), gate, key),
            policies: roles::policies(self.settings)?,
            deployment,
            audit: SqliteAudit::open(
                AuditSettings {
                    path: self.settings.audit.path.clone(),
                    write_deadline: self.settings.audit.write_deadline,
                    retention: self.settings.audit.retention,
                },
                self.metrics.clone(),
            )?,
        })
    }

    /// Credentials of the role for this wallet, under its own ceiling, or under one
    /// as wide as the bucket, which leaves the role's own policy to keep wallets apart.
    pub(super) async fn credentials(
        &self,
        mint: &Mint,
        role: &Role,
        wallet: &Wallet,
        wide: bool,
    ) -> anyhow::Result<AwsCredentials> {
        let role_arn = role.arn.parse()?;
        let prefix = &mint.deployment.prefix;
        let policy = if wide {
            whole_bucket(&self.plan.bucket_arn())
        } else {
            let policy = mint.policies.get(&role.alias).context("the role has no session policy")?;
            policy
                .render(&PolicyValues { wallet, bucket: &self.plan.bucket, prefix, role: &role_arn }, false)?
        };
        let (mint_id, now) = (MintId::generate(), Timestamp::now());
        let name = session_name(mint_id, wallet);
        let entry = |phase, outcome: &str| AuditEntry {
            wallet: Some(wallet.to_string()),
            target: Some(role.alias.to_string()),
            session_name: Some(name.clone()),
            source: Some("operator".to_owned()),
            ..AuditEntry::new(phase, mint_id.to_string(), ACTION, outcome)
        };
        mint.audit.write(entry(Phase::Intent, "pending")).await?;
        let source_identity = self.settings.aws.source_identity == settings::SourceIdentity::Wallet;
        let request = ExchangeRequest {
            wallet: wallet.clone(),
            session_expires_at: now.plus(SHORTEST.into()),
            role_arn,
            session_name: name.clone(),
            duration_seconds: SHORTEST,
            policy,
            mint_id,
            source_identity: source_identity.then(|| wallet.to_string()),
            now,
        };
        let answer = mint.exchange.exchange(&request).await;
        let outcome = if answer.is_ok() { "granted" } else { "failed" };
        mint.audit.write(entry(Phase::Outcome, outcome)).await?;
        Ok(answer?.credentials)
    }
}

fn whole_bucket(bucket_arn: &str) -> String {
    serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Action": "s3:*", "Resource": [bucket_arn, format!("{bucket_arn}/*")] }],
    })
    .to_string()
}
