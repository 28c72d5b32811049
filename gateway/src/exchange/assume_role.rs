//! Signed `sts:AssumeRole` with the wallet as a session tag: what a broker does
//! whose issuer AWS cannot reach. The same isolation, and the same audit.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_sts::Client;
use aws_sdk_sts::operation::RequestId;
use aws_sdk_sts::types::Tag;

use super::answer::{self, Asked};
use super::daemon_key::DaemonKeySlot;
use super::error::ExchangeError;
use super::failure::Failure;
use super::gate::{Gate, Operation};
use super::settings::ExchangeSettings;
use super::{CredentialExchange, ExchangeAnswer, ExchangeMode, ExchangeRequest, client};
use crate::issuer::WALLET_TAG;

/// The exchange that the operator's key signs.
pub struct AssumeRole {
    client: Client,
    gate: Arc<Gate>,
    key: DaemonKeySlot,
    settings: ExchangeSettings,
}

impl AssumeRole {
    /// With the key in this slot; without one each exchange is refused.
    pub fn new(settings: &ExchangeSettings, gate: Arc<Gate>, key: DaemonKeySlot) -> Self {
        Self { client: client::signed(settings, &key), gate, key, settings: settings.clone() }
    }
}

// PackedPolicySize is deprecated for SessionTokenUtilization, which not every STS sends yet.
#[allow(deprecated)]
#[async_trait]
impl CredentialExchange for AssumeRole {
    fn mode(&self) -> ExchangeMode {
        ExchangeMode::AssumeRole
    }

    async fn exchange(&self, request: &ExchangeRequest) -> Result<ExchangeAnswer, ExchangeError> {
        let duration_seconds = request.checked_duration()?;
        let key = self.key.load().ok_or(ExchangeError::NoDaemonKey("assume_role"))?;
        let tag = Tag::builder()
            .key(WALLET_TAG)
            .value(request.wallet.as_str())
            .build()
            .map_err(|error| ExchangeError::BadRequest(error.to_string()))?;
        let (tag, key) = (&tag, &key);
        self.gate
            .exchange(Operation::AssumeRole, |retry| async move {
                let sent = self
                    .client
                    .assume_role()
                    .role_arn(request.role_arn.as_str())
                    .role_session_name(&request.session_name)
                    .duration_seconds(duration_seconds.cast_signed())
                    .policy(&request.policy)
                    .tags(tag.clone())
                    .transitive_tag_keys(WALLET_TAG)
                    .set_source_identity(request.source_identity.clone())
                    .send()
                    .await;
                let output = sent.map_err(|error| Failure::from_sdk(&error))?;
                let asked = Asked {
                    role: &request.role_arn,
                    session_name: &request.session_name,
                    duration_seconds,
                    now: request.now_at(retry),
                    tolerance: self.settings.clock_tolerance,
                    foreign: self.settings.foreign_endpoint(),
                    daemon_key: Some(key),
                };
                let (credentials, assumed_role_arn) =
                    answer::check(output.credentials(), output.assumed_role_user(), &asked)?;
                Ok(ExchangeAnswer {
                    credentials,
                    assumed_role_arn,
                    kid: None,
                    request_id: output.request_id().map(str::to_owned),
                    packed_policy_size: output.session_token_utilization().or(output.packed_policy_size()),
                })
            })
            .await
    }
}
