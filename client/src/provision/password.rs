//! A password that nobody has to remember: the mailbox can always set another.

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;

use super::ProvisionError;

/// 192 random bits, with what sites insist on at the end.
pub fn make() -> Result<SecretString, ProvisionError> {
    let mut bytes = zeroize::Zeroizing::new([0u8; 24]);
    rand::fill(bytes.as_mut_slice())
        .map_err(|_| ProvisionError::Local("this system gives no randomness".to_owned()))?;
    Ok(SecretString::from(format!("{}-aA1", URL_SAFE_NO_PAD.encode(bytes.as_slice()))))
}
