//! One method per endpoint of the broker.

use agentkeys_core::oauth::{
    DeviceAuthorizationRequest, DeviceAuthorizationResponse, RevokeRequest, RevokeResponse, TokenRequest,
    TokenResponse,
};
use agentkeys_core::pairing_wire::{ApprovePairingRequest, PairingDecision, PairingView};
use agentkeys_core::scope::Service;
use agentkeys_core::wire::{
    ChallengeRequest, ChallengeResponse, CredentialList, Environment, MintAwsRequest, MintAwsResponse,
    NewSessionResponse, SessionList, SessionView, StartSessionRequest, StoreCredentialRequest,
    StoredCredential,
};
use agentkeys_core::{Timestamp, UserCode};
use http::Method;
use secrecy::ExposeSecret;

use super::{Body, Broker, BrokerError};

type Answer<T> = Result<T, BrokerError>;

const NOTHING: Body<'static, ()> = Body::Nothing;

impl Broker {
    /// Who am I?
    pub async fn session(&self) -> Answer<SessionView> {
        self.call(Method::GET, "/v1/session", NOTHING).await
    }

    /// This session and those that descend from it.
    pub async fn sessions(&self) -> Answer<SessionList> {
        self.call(Method::GET, "/v1/sessions", NOTHING).await
    }

    /// A message to sign.
    pub async fn challenge(&self, request: &ChallengeRequest) -> Answer<ChallengeResponse> {
        self.call(Method::POST, "/v1/sessions/challenge", Body::Json(request)).await
    }

    /// A master session for the signed message.
    pub async fn start_session(&self, request: &StartSessionRequest) -> Answer<NewSessionResponse> {
        self.call(Method::POST, "/v1/sessions", Body::Json(request)).await
    }

    /// AWS credentials. Empty or ended ones are an error here, so that nothing
    /// behind this method ever sees them.
    pub async fn mint_aws(&self, request: &MintAwsRequest) -> Answer<MintAwsResponse> {
        let minted: MintAwsResponse =
            self.call(Method::POST, "/v1/mint-aws-creds", Body::Json(request)).await?;
        let empty = minted.access_key_id.is_empty()
            || minted.secret_access_key.expose_secret().is_empty()
            || minted.session_token.expose_secret().is_empty();
        if empty {
            return Err(BrokerError::UnusableCredential("a part of it is empty"));
        }
        if minted.expiration <= Timestamp::now() {
            return Err(BrokerError::UnusableCredential("it has ended; check this machine's clock"));
        }
        Ok(minted)
    }

    /// Region, bucket, prefix, mail domain.
    pub async fn environment(&self) -> Answer<Environment> {
        self.call(Method::GET, "/v1/environment", NOTHING).await
    }

    /// Begins a pairing.
    pub async fn device_authorization(
        &self,
        request: &DeviceAuthorizationRequest,
    ) -> Answer<DeviceAuthorizationResponse> {
        self.call(Method::POST, "/oauth/device_authorization", Body::Form(request)).await
    }

    /// Polls for a paired session, or makes a child.
    pub async fn token(&self, request: &TokenRequest) -> Answer<TokenResponse> {
        self.call(Method::POST, "/oauth/token", Body::Form(request)).await
    }

    /// Revokes a session and all that descend from it.
    pub async fn revoke(&self, request: &RevokeRequest) -> Answer<RevokeResponse> {
        self.call(Method::POST, "/oauth/revoke", Body::Form(request)).await
    }

    /// Who asks to be paired?
    pub async fn pairing(&self, code: &UserCode) -> Answer<PairingView> {
        self.call(Method::GET, &format!("/v1/pairings/{code}"), NOTHING).await
    }

    /// Lets a device in.
    pub async fn approve(&self, code: &UserCode, request: &ApprovePairingRequest) -> Answer<PairingDecision> {
        self.call(Method::POST, &format!("/v1/pairings/{code}/approve"), Body::Json(request)).await
    }

    /// Turns a device away.
    pub async fn deny(&self, code: &UserCode) -> Answer<PairingDecision> {
        self.call(Method::POST, &format!("/v1/pairings/{code}/deny"), NOTHING).await
    }

    /// Stores a service's key.
    pub async fn store_credential(&self, service: &Service, request: &StoreCredentialRequest) -> Answer<()> {
        let path = format!("/v1/credentials/{service}");
        self.exchange(self.request(Method::PUT, &path, Body::Json(request))?).await.map(drop)
    }

    /// Reads a service's key.
    pub async fn read_credential(&self, service: &Service) -> Answer<StoredCredential> {
        self.call(Method::GET, &format!("/v1/credentials/{service}"), NOTHING).await
    }

    /// Lists what is stored.
    pub async fn credentials(&self) -> Answer<CredentialList> {
        self.call(Method::GET, "/v1/credentials", NOTHING).await
    }

    /// Removes a service's key.
    pub async fn remove_credential(&self, service: &Service) -> Answer<()> {
        let path = format!("/v1/credentials/{service}");
        // 204 without a body, or 200 with one: both mean that it is gone.
        self.exchange(self.request(Method::DELETE, &path, NOTHING)?).await.map(drop)
    }
}
