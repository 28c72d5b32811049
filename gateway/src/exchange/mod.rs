//! The STS exchange. With the KMS signer and the secret references, the only room that imports an AWS crate.
