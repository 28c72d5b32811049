//! STS clients, built by hand and once.
//!
//! No AWS setting is ambient: no `AWS_*` variable, profile or instance metadata is
//! asked for a region, an endpoint or a key. So a machine that happens to hold AWS
//! credentials mints nothing with them. `HTTPS_PROXY` and `NO_PROXY` count for https
//! endpoints, since a proxy sees nothing there but an encrypted tunnel.

use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_sts::Client;
use aws_sdk_sts::config::Builder;
use aws_smithy_http_client::Builder as HttpClientBuilder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

use super::answer_limit::AnswerLimit;
use super::daemon_key::DaemonKeySlot;
use super::settings::ExchangeSettings;

/// A client that holds no credentials and signs nothing.
pub fn unsigned(settings: &ExchangeSettings) -> Client {
    let config = Builder::from(&shared(settings)).allow_no_auth();
    Client::from_conf(config.interceptor(AnswerLimit(settings.max_answer_bytes)).build())
}

/// A client that signs with the key in this slot.
pub fn signed(settings: &ExchangeSettings, key: &DaemonKeySlot) -> Client {
    let mut config = Builder::from(&shared(settings));
    config.set_credentials_provider(Some(SharedCredentialsProvider::new(key.clone())));
    Client::from_conf(config.interceptor(AnswerLimit(settings.max_answer_bytes)).build())
}

/// What both have in common. The SDK's own retries are off: only this room knows
/// which attempts need a new token.
fn shared(settings: &ExchangeSettings) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(settings.connect_timeout)
        .operation_attempt_timeout(settings.attempt_timeout)
        .operation_timeout(settings.attempt_timeout)
        .build();
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(settings.region.clone()))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        // The attempt's own deadline bounds a slow answer.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // The slot is the cache: a replaced key counts from the next call on.
        .identity_cache(IdentityCache::no_cache());
    if settings.sts_endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://")) {
        // On loopback and in the clear: a proxy has no business there.
        let crypto = Provider::Rustls(CryptoMode::AwsLc);
        config.set_http_client(Some(HttpClientBuilder::new().tls_provider(crypto).build_https()));
    }
    config.set_endpoint_url(settings.sts_endpoint.clone());
    config.set_app_name(AppName::new(settings.app_name.clone()).ok());
    config.build()
}
