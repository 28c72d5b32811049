//! OIDC tokens: claims, the keyring, signers, discovery and JWKS.
