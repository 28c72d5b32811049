//! Reads a form as RFC 6749 section 3.2 asks: a parameter without a value is
//! absent, an unknown one is ignored, and a repeated one is refused, since two
//! readers of it could each believe another value.

use std::collections::BTreeSet;

use agentkeys_core::oauth::OAuthErrorCode;
use agentkeys_core::{Code, Problem};
use agentkeys_filters::Exchange;
use http::header;
use serde::de::{DeserializeOwned, IgnoredAny};
use zeroize::Zeroizing;

use super::Failure;

/// The form that the request carries.
pub fn read<T: DeserializeOwned>(exchange: &Exchange) -> Result<T, Failure> {
    let media_type = exchange
        .request
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Problem::new(
            Code::UnsupportedMediaType,
            "Send the parameters as application/x-www-form-urlencoded.",
        )
        .into());
    }
    fields(&exchange.body)
}

/// The fields of a form. No message repeats a value: some are secrets.
pub fn fields<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    let malformed = || Failure::oauth(OAuthErrorCode::InvalidRequest, "the body is not a form");
    let text = std::str::from_utf8(body).map_err(|_| malformed())?;
    let names: Vec<(String, IgnoredAny)> = serde_urlencoded::from_str(text).map_err(|_| malformed())?;
    let mut seen = BTreeSet::new();
    if !names.into_iter().all(|(name, _)| seen.insert(name)) {
        return Err(Failure::oauth(OAuthErrorCode::InvalidRequest, "a parameter is there twice"));
    }
    let present: Vec<&str> = text
        .split('&')
        .filter(|field| field.split_once('=').is_some_and(|(_, value)| !value.is_empty()))
        .collect();
    let present = Zeroizing::new(present.join("&"));
    serde_urlencoded::from_str(&present).map_err(|_| {
        Failure::oauth(OAuthErrorCode::InvalidRequest, "a parameter is missing, or not of its type")
    })
}

#[cfg(test)]
mod tests {
    use agentkeys_core::oauth::{DeviceAuthorizationRequest, RevokeRequest, TokenRequest};

    use super::*;

    fn refused<T: DeserializeOwned>(body: &str) -> bool {
        matches!(fields::<T>(body.as_bytes()), Err(Failure::OAuth(error)) if error.error == OAuthErrorCode::InvalidRequest)
    }

    #[test]
    fn a_repeated_parameter_is_refused_however_it_is_spelt() {
        for body in [
            "grant_type=a&grant_type=b",
            "grant_type=a&grant_type=a",
            "grant_type=a&grant%5Ftype=b",
            "grant_type=a&grant_type=",
            "grant_type=a&unknown=1&unknown=2",
        ] {
            assert!(refused::<TokenRequest>(body), "{body}");
        }
    }

    #[test]
    fn an_empty_parameter_is_absent_and_an_unknown_one_ignored() {
        let read: DeviceAuthorizationRequest =
            fields(b"scope=&label&resource=x&expires_in=60&client_id=a+b").unwrap();
        assert_eq!(read.scope, None);
        assert_eq!(read.label, None);
        assert_eq!(read.expires_in, Some(60));
        assert_eq!(read.client_id.as_deref(), Some("a b"));
        assert_eq!(fields::<DeviceAuthorizationRequest>(b"").unwrap(), DeviceAuthorizationRequest::default());
    }

    #[test]
    fn what_is_not_of_its_type_is_refused_without_an_echo() {
        assert!(refused::<TokenRequest>("device_code=x"));
        for body in
            ["grant_type=a&expires_in=-1", "grant_type=a&expires_in=1e9", "grant_type=a&expires_in=canary"]
        {
            let Err(failure) = fields::<TokenRequest>(body.as_bytes()) else { panic!("{body}") };
            assert!(!format!("{failure:?}").contains("canary"));
        }
        assert!(refused::<RevokeRequest>("session_id=canary"));
        assert!(fields::<TokenRequest>(&[0xff, 0xfe]).is_err());
    }
}
