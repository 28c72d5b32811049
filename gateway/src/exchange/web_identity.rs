//! `sts:AssumeRoleWithWebIdentity`: the token just signed, and no AWS credential.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_sts::Client;
use aws_sdk_sts::operation::RequestId;
use secrecy::ExposeSecret;

use super::answer::{self, Asked};
use super::daemon_key::DaemonKeySlot;
use super::error::ExchangeError;
use super::failure::Failure;
use super::gate::{Gate, Operation};
use super::settings::ExchangeSettings;
use super::{CredentialExchange, ExchangeAnswer, ExchangeMode, ExchangeRequest, client};
use crate::issuer::claims::subject;
use crate::issuer::{Issuer, MintClaims};

/// The exchange that AWS federates.
pub struct WebIdentity {
    client: Client,
    issuer: Arc<Issuer>,
    gate: Arc<Gate>,
    key: DaemonKeySlot,
    settings: ExchangeSettings,
}

impl WebIdentity {
    /// The key in the slot is never used; an answer is only held against it.
    pub fn new(
        settings: &ExchangeSettings,
        issuer: Arc<Issuer>,
        gate: Arc<Gate>,
        key: DaemonKeySlot,
    ) -> Self {
        Self { client: client::unsigned(settings), issuer, gate, key, settings: settings.clone() }
    }
}

// PackedPolicySize is deprecated for SessionTokenUtilization, which not every STS sends yet.
#[allow(deprecated)]
#[async_trait]
impl CredentialExchange for WebIdentity {
    fn mode(&self) -> ExchangeMode {
        ExchangeMode::WebIdentity
    }

    async fn exchange(&self, request: &ExchangeRequest) -> Result<ExchangeAnswer, ExchangeError> {
        let duration_seconds = request.checked_duration()?;
        self.gate
            .exchange(Operation::AssumeRoleWithWebIdentity, |retry| async move {
                // A second attempt may come seconds later, and STS may have remembered the first token.
                let now = request.now_at(retry);
                let jwt = self.issuer.mint(self.claims(request, now)).await.map_err(ExchangeError::from)?;
                let sent = self
                    .client
                    .assume_role_with_web_identity()
                    .role_arn(request.role_arn.as_str())
                    .role_session_name(&request.session_name)
                    .web_identity_token(jwt.token.expose_secret())
                    .duration_seconds(duration_seconds.cast_signed())
                    .policy(&request.policy)
                    .send()
                    .await;
                let output = sent.map_err(|error| Failure::from_sdk(&error))?;
                let key = self.key.load();
                let asked = Asked {
                    role: &request.role_arn,
                    session_name: &request.session_name,
                    duration_seconds,
                    now,
                    tolerance: self.settings.clock_tolerance,
                    foreign: self.settings.foreign_endpoint(),
                    daemon_key: key.as_deref(),
                };
                let (credentials, assumed_role_arn) =
                    answer::check(output.credentials(), output.assumed_role_user(), &asked)?;
                let named = output.subject_from_web_identity_token();
                if named.is_some_and(|named| named != subject(&request.wallet)) {
                    return Err(Failure::invalid("the answer is for another subject").into());
                }
                Ok(ExchangeAnswer {
                    credentials,
                    assumed_role_arn,
                    kid: Some(jwt.kid),
                    request_id: output.request_id().map(str::to_owned),
                    packed_policy_size: output.session_token_utilization().or(output.packed_policy_size()),
                })
            })
            .await
    }
}

impl WebIdentity {
    fn claims(&self, request: &ExchangeRequest, now: agentkeys_core::Timestamp) -> MintClaims {
        MintClaims {
            wallet: request.wallet.clone(),
            audience: self.settings.token_audience.clone(),
            ttl_seconds: self.settings.token_ttl_seconds,
            session_expires_at: request.session_expires_at,
            mint_id: request.mint_id,
            source_identity: request.source_identity.clone(),
            now,
        }
    }
}
