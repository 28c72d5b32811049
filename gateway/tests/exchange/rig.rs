//! An exchange of either mode in front of an STS with faults.

use std::sync::Arc;
use std::time::Duration;

use crate::fault_sts::{self, Fault, FaultSts, Seen};
use agentkeys_broker_server::exchange::{
    self, CredentialExchange, DaemonKey, DaemonKeySlot, ExchangeAnswer, ExchangeError, ExchangeMode,
    ExchangeRequest, ExchangeSettings, Gate, PolicyValues, PrefixTemplate, RoleArn, SessionPolicy,
};
use agentkeys_broker_server::issuer::{Issuer, IssuerSettings, IssuerUrl};
use agentkeys_broker_server::metrics::Metrics;
use agentkeys_core::{MintId, Problem, Timestamp, Wallet};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub const ROLE: &str = "arn:aws:iam::123456789012:role/agentkeys-agent";
pub const DAEMON_ID: &str = "AKIDFAULTTEST";
pub const DAEMON_SECRET: &str = "not-a-real-key-only-a-fixture";

/// The STS, the exchange in front of it, and what a test looks at.
pub struct Rig {
    pub sts: FaultSts,
    pub exchange: Arc<dyn CredentialExchange>,
    pub gate: Arc<Gate>,
    pub key: DaemonKeySlot,
    pub settings: ExchangeSettings,
    pub metrics: Arc<Metrics>,
    _keys: tempfile::TempDir,
}

pub async fn rig(mode: ExchangeMode, faults: Vec<Fault>) -> Rig {
    rig_with(mode, faults, |_| {}).await
}

pub async fn rig_with(
    mode: ExchangeMode,
    faults: Vec<Fault>,
    change: impl FnOnce(&mut ExchangeSettings),
) -> Rig {
    let sts = FaultSts::start(faults).await;
    let mut settings = ExchangeSettings::new("eu-north-1");
    settings.sts_endpoint = Some(sts.url());
    settings.total_timeout = Duration::from_secs(8);
    settings.backoff = Duration::from_millis(2);
    change(&mut settings);
    assert_eq!(settings.errors(), []);
    let keys = tempfile::tempdir().unwrap();
    let url = IssuerUrl::parse("http://localhost:8090").unwrap();
    let issuer =
        IssuerSettings { generate_missing: true, ..IssuerSettings::new(url, keys.path().join("keys")) };
    let metrics = Arc::new(Metrics::new().unwrap());
    let (issuer, _) = Issuer::open(&issuer, Arc::clone(&metrics), Timestamp::now()).unwrap();
    let gate = Arc::new(Gate::new(&settings, Arc::clone(&metrics)));
    let key = DaemonKeySlot::new(Some(DaemonKey::new(DAEMON_ID.into(), DAEMON_SECRET.into()).unwrap()));
    let exchange = exchange::build(mode, &settings, Arc::new(issuer), Arc::clone(&gate), key.clone());
    assert_eq!(exchange.mode(), mode);
    Rig { sts, exchange, gate, key, settings, metrics, _keys: keys }
}

pub fn wallet() -> Wallet {
    "0x52908400098527886e0f7030069857d2e4169ee7".parse().unwrap()
}

pub fn request() -> ExchangeRequest {
    let role: RoleArn = ROLE.parse().unwrap();
    let (wallet, mint_id) = (wallet(), MintId::generate());
    let prefix = PrefixTemplate::parse("bots/${wallet}/").unwrap();
    let bucket = "agentkeys-mail-123456789012";
    let values = PolicyValues { wallet: &wallet, bucket, prefix: &prefix, role: &role };
    let policy = SessionPolicy::built_in().render(&values, false).unwrap();
    ExchangeRequest {
        session_name: exchange::session_name(mint_id, &wallet),
        wallet,
        session_expires_at: Timestamp::now().plus(7_200),
        role_arn: role,
        duration_seconds: 3_600,
        policy,
        mint_id,
        source_identity: None,
        now: Timestamp::now(),
    }
}

impl Rig {
    pub async fn exchange(&self) -> Result<ExchangeAnswer, ExchangeError> {
        self.exchange.exchange(&request()).await
    }

    /// The problem a caller hears, after checking that nothing secret is in it or in the log.
    pub async fn problem(&self) -> Problem {
        let error = self.exchange().await.expect_err("no credential");
        let logged = format!("{error} {error:?}");
        let problem = Problem::from(error);
        let all = format!("{logged} {problem:?}");
        for secret in [DAEMON_SECRET, "eyJ", fault_sts::SECRET, fault_sts::TOKEN] {
            assert!(!all.contains(secret), "{secret} in {all}");
        }
        assert!(!problem.detail.contains("123456789012"), "{}", problem.detail);
        problem
    }

    pub fn metrics(&self) -> String {
        self.metrics.render().unwrap()
    }

    pub fn metric(&self, line: &str) -> bool {
        self.metrics().lines().any(|found| found == line)
    }
}

pub fn claims(seen: &Seen) -> serde_json::Value {
    let token = seen.form("WebIdentityToken").unwrap();
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}
