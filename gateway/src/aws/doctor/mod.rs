//! `aws doctor`: does AWS hold what this configuration rests on? One row per
//! check; a row that fails says what to change, one that does not apply says why.
//!
//! It writes to AWS only to prove isolation: test objects that it removes again.
//! The key and what it mints stay in this process; a mint is audited as any other.

mod account;
mod clock;
mod exchange;
mod isolation;
mod issuer;
mod row;
mod s3;
mod trust;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::partition::Partition;
use super::plan::{PLACEHOLDER, Plan};
use crate::config::{Environment, Settings, secret};
use crate::exchange::wire::Wire;
use crate::exchange::{CallerIdentity, DaemonKey, DaemonKeySlot, ExchangeMode, Gate};
use crate::metrics::Metrics;

pub use row::{Row, Status};

/// How long AWS waits for an issuer's documents, and the doctor for any answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the operator asks for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The account, where nothing else says it.
    pub account: Option<String>,
    /// More roots to trust.
    pub ca_file: Option<PathBuf>,
    /// Another IAM.
    pub iam_endpoint: Option<String>,
    /// Whether to mint and to write test objects.
    pub exchange: bool,
}

/// What the checks share.
struct Doctor<'a> {
    settings: &'a Settings,
    plan: Plan,
    wire: Wire,
    gate: Arc<Gate>,
    metrics: Arc<Metrics>,
    key: DaemonKeySlot,
    caller: Option<Arc<CallerIdentity>>,
    options: Options,
}

/// Every check, in order.
pub async fn run(
    settings: &Settings,
    environment: &Environment,
    options: Options,
) -> anyhow::Result<Vec<Row>> {
    let plan = Plan::new(settings, options.account.as_deref())?;
    let metrics = Arc::new(Metrics::new()?);
    let gate = Arc::new(Gate::new(&settings.exchange_settings(), metrics.clone()));
    let wire = Wire::new(options.ca_file.as_deref(), PATIENCE)?;
    let (key, unreadable) = match &settings.aws.daemon_key {
        None => (None, None),
        Some(reference) => match daemon_key(reference, environment).await {
            Ok(key) => (Some(key), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        },
    };
    let key = DaemonKeySlot::new(key);
    let mut doctor = Doctor { settings, plan, wire, gate, metrics, key, caller: None, options };

    let (mut rows, issuer_time) = doctor.issuer().await;
    rows.push(doctor.clock(issuer_time).await);
    rows.push(doctor.daemon_key(unreadable).await);
    doctor.learn_account();
    rows.push(doctor.provider().await);
    rows.extend(doctor.trust_policies().await);
    rows.extend(doctor.exchanges().await);
    Ok(rows)
}

async fn daemon_key(reference: &secret::DaemonKey, environment: &Environment) -> anyhow::Result<DaemonKey> {
    let key = reference.resolve(environment, secret::FETCH_DEADLINE).await?;
    Ok(DaemonKey::new(key.access_key_id, key.secret_access_key)?)
}

impl Doctor<'_> {
    fn federates(&self) -> bool {
        self.plan.mode == ExchangeMode::WebIdentity
    }

    /// Fills `auto` in, now that the key has said whose it is.
    fn learn_account(&mut self) {
        let Some(caller) = &self.caller else { return };
        if self.plan.account != PLACEHOLDER {
            return;
        }
        // The plan was made from these settings before; only the account is new.
        if let Ok(plan) = Plan::new(self.settings, Some(&caller.account)) {
            self.plan = plan;
        }
    }

    /// Is STS another one than AWS? Then neither IAM nor S3 may be asked at AWS:
    /// the key and the credentials are not AWS's.
    fn foreign(&self) -> bool {
        self.settings.exchange_settings().foreign_endpoint()
    }

    fn partition(&self) -> Partition {
        Partition::of_region(&self.plan.region)
    }

    /// A name per role where there are several.
    fn name(&self, check: &str, role: &super::plan::Role) -> String {
        if self.plan.roles.len() == 1 { check.to_owned() } else { format!("{check}:{}", role.alias) }
    }
}
