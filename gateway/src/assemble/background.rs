//! What runs beside requests: learning the AWS account, rotating keys, purging
//! ended sessions, and reporting readiness.

use std::sync::Arc;
use std::time::Duration;

use agentkeys_core::Timestamp;
use agentkeys_core::store::SessionQuery;

use crate::broker::Broker;
use crate::deployment::Account;
use crate::edge::shutdown::Drain;
use crate::exchange::IdentityWatch;
use crate::issuer;
use crate::readiness::Check;

const KEY_TICK: Duration = Duration::from_secs(60);
const READINESS_TICK: Duration = Duration::from_secs(1);
const PURGE_TICK: Duration = Duration::from_secs(3600);
/// The breaker's metric while it is open.
const BREAKER_OPEN: i64 = 2;
/// How long an ended session stays listed.
const KEEP_ENDED: u64 = 30 * 86_400;
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

pub(super) fn start(broker: &Arc<Broker>, identity: Option<IdentityWatch>, drain: Arc<Drain>) {
    tokio::spawn(learn_account(broker.clone(), identity));
    tokio::spawn(issuer::keep_rotating(broker.issuer.clone(), Arc::new(Timestamp::now), KEY_TICK));
    tokio::spawn(report(broker.clone(), drain));
    tokio::spawn(purge(broker.clone()));
}

/// Asks once who the daemon key belongs to, again and again until it is known.
async fn learn_account(broker: Arc<Broker>, identity: Option<IdentityWatch>) {
    let readiness = &broker.readiness;
    let Some(identity) = identity.filter(|_| broker.deployment.needs_account()) else {
        let state = if broker.deployment.needs_account() {
            Err("no AWS key is configured, and a role or the bucket is 'auto'")
        } else {
            Ok(())
        };
        return readiness.report(Check::AwsAccount, state);
    };
    readiness.report(Check::AwsAccount, Err("GetCallerIdentity has not answered; the log has the reason"));
    let caller = identity.learn(FIRST_RETRY, LAST_RETRY).await;
    tracing::info!(account = caller.account, "the AWS account is known");
    broker.deployment.learn(Account { id: caller.account.clone(), partition: caller.partition.clone() });
    readiness.report(Check::AwsAccount, Ok(()));
}

/// Brings the cached checks up to date.
async fn report(broker: Arc<Broker>, drain: Arc<Drain>) {
    let readiness = &broker.readiness;
    readiness.report(Check::SigningKey, Ok(()));
    let mut tick = tokio::time::interval(READINESS_TICK);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = drain.begun() => {
                return readiness.report(Check::Serving, Err("the broker is ending"));
            }
        }
        readiness.report(Check::Serving, Ok(()));
        let audit = if broker.audit.healthy() { Ok(()) } else { Err("the audit cannot be written") };
        readiness.report(Check::Audit, audit);
        let sts = if broker.metrics.sts_breaker_state.get() == BREAKER_OPEN {
            Err("STS cannot be reached; the breaker is open")
        } else {
            Ok(())
        };
        readiness.report(Check::Sts, sts);
        let query = SessionQuery { limit: 1, ..SessionQuery::default() };
        let store = match broker.sessions.list(&query).await {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, "the store does not answer");
                Err("the store cannot be read")
            }
        };
        readiness.report(Check::Store, store);
    }
}

async fn purge(broker: Arc<Broker>) {
    let mut tick = tokio::time::interval(PURGE_TICK);
    loop {
        tick.tick().await;
        let before =
            Timestamp::from_unix(Timestamp::now().unix() - i64::try_from(KEEP_ENDED).unwrap_or(i64::MAX));
        match broker.sessions.purge(before).await {
            Ok(0) => {}
            Ok(purged) => tracing::info!(purged, "forgot sessions that ended long ago"),
            Err(error) => tracing::warn!(%error, "ended sessions could not be purged"),
        }
    }
}
