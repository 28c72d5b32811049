//! Who signs: a key in this process, or later one that never leaves KMS.
//!
//! jsonwebtoken stays the JWT library: its `Header` is what is encoded and its
//! `JwtSigner` is what signs. `jsonwebtoken::encode` itself is not used, since it
//! parses the key at each call, which costs as much again as the signature.

use std::fmt;

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::EcdsaKeyPair;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::JwtSigner;
use jsonwebtoken::signature::{Error as SignatureError, Signer as SignatureSigner};
use jsonwebtoken::{Algorithm, Header};
use secrecy::SecretString;
use serde::Serialize;

use super::error::{IssuerError, KeyError};
use super::key::{PublicJwk, SigningKey};

/// Why a key did not sign, for the log: never holds what was to be signed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SignerError(pub String);

/// A key that signs ES256.
#[async_trait]
pub trait Signer: Send + Sync {
    /// The public half, with the key's id.
    fn public_jwk(&self) -> &PublicJwk;

    /// Signs the bytes; the answer is r and s, 32 bytes each.
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError>;
}

/// A key held in this process, parsed once.
pub struct LocalSigner {
    public: PublicJwk,
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl LocalSigner {
    /// From a private key, which may be dropped afterwards.
    pub fn new(key: &SigningKey) -> Result<Self, KeyError> {
        Ok(Self { public: key.public_jwk()?, pair: key.pair()?, random: SystemRandom::new() })
    }
}

impl SignatureSigner<Vec<u8>> for LocalSigner {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        let signature = self.pair.sign(&self.random, message).map_err(SignatureError::from_source)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl JwtSigner for LocalSigner {
    fn algorithm(&self) -> Algorithm {
        Algorithm::ES256
    }
}

#[async_trait]
impl Signer for LocalSigner {
    fn public_jwk(&self) -> &PublicJwk {
        &self.public
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        SignatureSigner::try_sign(self, message).map_err(|error| SignerError(error.to_string()))
    }
}

impl fmt::Debug for LocalSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalSigner({})", self.public.kid())
    }
}

/// The compact form of header and claims, signed.
pub async fn encode<C: Serialize>(signer: &dyn Signer, claims: &C) -> Result<SecretString, IssuerError> {
    let kid = signer.public_jwk().kid();
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(kid.to_owned());
    let mut token = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header)?);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims)?, &mut token);
    let failed = |reason: String| IssuerError::Sign { kid: kid.to_owned(), reason };
    let signature = signer.sign(token.as_bytes()).await.map_err(|error| failed(error.to_string()))?;
    if signature.len() != 64 || signature.iter().all(|byte| *byte == 0) {
        return Err(failed(format!("a signature of {} bytes came back that is none", signature.len())));
    }
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(SecretString::from(token))
}
