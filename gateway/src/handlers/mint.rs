//! The two mints. Both refuse to go on unless the audit filter has made their
//! intent durable, so that a wrong chain mints nothing.

use std::sync::Arc;

use agentkeys_core::wire::{MintAwsResponse, MintJwtResponse};
use agentkeys_core::{GrantDecision, MintTarget, Problem, Session, Timestamp};
use agentkeys_filters::{Exchange, Handler, Outcome, Response};
use async_trait::async_trait;
use http::StatusCode;

use super::session_of;
use crate::broker::{Broker, SourceIdentity};
use crate::exchange::{ExchangeError, ExchangeRequest, PolicyValues, session_name};
use crate::issuer::MintClaims;

/// `POST /v1/mint-oidc-jwt`.
pub struct MintJwt(pub Arc<Broker>);

#[async_trait]
impl Handler for MintJwt {
    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let (session, grant) = authorised(exchange)?;
        let MintTarget::Audience(audience) = grant.target else {
            return Err(Problem::internal("a grant for a role reached the mint of a token"));
        };
        let signed = self
            .0
            .issuer
            .mint(MintClaims {
                wallet: session.wallet.clone(),
                audience,
                ttl_seconds: grant.duration_seconds,
                session_expires_at: session.expires_at,
                mint_id: exchange.mint_id,
                source_identity: source_identity(&self.0, &session),
                now: Timestamp::now(),
            })
            .await?;
        exchange.mint.kid = Some(signed.kid.clone());
        Response::secret_json(
            StatusCode::OK,
            &MintJwtResponse {
                jwt: signed.token,
                wallet: session.wallet,
                expiration: signed.expires_at,
                kid: signed.kid,
                mint_id: exchange.mint_id,
            },
        )
    }
}

/// `POST /v1/mint-aws-creds`.
pub struct MintAws(pub Arc<Broker>);

#[async_trait]
impl Handler for MintAws {
    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let (session, grant) = authorised(exchange)?;
        let MintTarget::Role(alias) = &grant.target else {
            return Err(Problem::internal("a grant for an audience reached the mint of credentials"));
        };
        let broker = &self.0;
        let role_arn = broker.deployment.role_arn(alias)?;
        let environment = broker.deployment.environment(&session.wallet)?;
        let policies = broker
            .policies
            .get(alias)
            .ok_or_else(|| Problem::internal(format!("the role '{alias}' has no session policy")))?;
        let values = PolicyValues {
            wallet: &session.wallet,
            bucket: &environment.bucket,
            prefix: &broker.deployment.prefix,
            role: &role_arn,
        };
        let policy = policies.render(&values, grant.read_only).map_err(ExchangeError::from)?;
        let name = session_name(exchange.mint_id, &session.wallet);
        exchange.mint.session_name = Some(name.clone());
        let answer = broker
            .exchange
            .exchange(&ExchangeRequest {
                wallet: session.wallet.clone(),
                session_expires_at: session.expires_at,
                role_arn: role_arn.clone(),
                session_name: name,
                duration_seconds: grant.duration_seconds,
                policy,
                mint_id: exchange.mint_id,
                source_identity: source_identity(broker, &session),
                now: Timestamp::now(),
            })
            .await?;
        exchange.mint.kid = answer.kid;
        exchange.mint.detail = answer.request_id.map(|id| format!("sts request {id}"));
        Response::secret_json(
            StatusCode::OK,
            &MintAwsResponse {
                access_key_id: answer.credentials.access_key_id,
                secret_access_key: answer.credentials.secret_access_key,
                session_token: answer.credentials.session_token,
                expiration: answer.credentials.expiration,
                wallet: session.wallet,
                role_arn: role_arn.to_string(),
                region: environment.region.clone(),
                environment,
                mint_id: exchange.mint_id,
            },
        )
    }
}

fn authorised(exchange: &Exchange) -> Result<(Session, GrantDecision), Problem> {
    if !exchange.audited {
        return Err(Problem::internal("a mint without a durable intent: the chain has no audit"));
    }
    let grant = exchange.grant.clone().ok_or_else(|| Problem::internal("a mint without a grant"))?;
    Ok((session_of(exchange)?.clone(), grant))
}

fn source_identity(broker: &Broker, session: &Session) -> Option<String> {
    match broker.source_identity {
        SourceIdentity::Off => None,
        SourceIdentity::Wallet => Some(session.wallet.to_string()),
    }
}
