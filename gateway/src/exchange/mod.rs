//! stub
use agentkeys_core::{AwsCredentials, MintId, Problem, Timestamp, Wallet};
use async_trait::async_trait;
use std::sync::Arc;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeMode {
    WebIdentity,
    AssumeRole,
}
impl ExchangeMode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebIdentity => "web_identity",
            Self::AssumeRole => "assume_role",
        }
    }
}
pub struct ExchangeRequest {
    pub wallet: Wallet,
    pub session_expires_at: Timestamp,
    pub role_arn: String,
    pub session_name: String,
    pub duration_seconds: u32,
    pub policy: String,
    pub mint_id: MintId,
    pub source_identity: Option<String>,
}
pub struct ExchangeAnswer {
    pub credentials: AwsCredentials,
    pub kid: Option<String>,
    pub request_id: Option<String>,
}
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct ExchangeError;
impl From<ExchangeError> for Problem {
    fn from(_: ExchangeError) -> Self {
        Problem::internal("x")
    }
}
#[async_trait]
pub trait CredentialExchange: Send + Sync {
    fn mode(&self) -> ExchangeMode;
    async fn exchange(&self, r: &ExchangeRequest) -> Result<ExchangeAnswer, ExchangeError>;
}
pub fn session_name(m: &MintId, _w: &Wallet) -> String {
    m.to_string()
}
pub struct SessionPolicies;
impl SessionPolicies {
    pub fn render(&self, _a: &str, _b: &str, _p: &str, _w: &Wallet, _r: bool) -> Result<String, Problem> {
        Ok(String::new())
    }
}
pub type Dyn = Arc<dyn CredentialExchange>;
