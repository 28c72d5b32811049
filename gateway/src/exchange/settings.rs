//! What the exchange is told, with the defaults of `broker.yaml`.

use std::time::Duration;

/// Settings of everything that speaks to STS.
#[derive(Clone, Debug)]
pub struct ExchangeSettings {
    /// `aws.region`: STS is asked at its regional endpoint.
    pub region: String,
    /// `aws.sts_endpoint`: another STS, such as a VPC endpoint or a local one.
    pub sts_endpoint: Option<String>,
    /// The audience of the tokens that STS gets: a client id of the IAM provider.
    pub token_audience: String,
    /// The life of those tokens.
    pub token_ttl_seconds: u32,
    /// Until the connection stands.
    pub connect_timeout: Duration,
    /// For one attempt, from the first byte sent to the last one read.
    pub attempt_timeout: Duration,
    /// For all attempts of one exchange together.
    pub total_timeout: Duration,
    /// How often one exchange may ask STS.
    pub max_attempts: u32,
    /// The pause before the second attempt; it doubles, with jitter.
    pub backoff: Duration,
    /// The longest such pause.
    pub backoff_limit: Duration,
    /// `limits.sts_in_flight`: exchanges at one time.
    pub in_flight: usize,
    /// How long one exchange waits for its turn.
    pub in_flight_wait: Duration,
    /// Failed exchanges in a row that open the breaker.
    pub breaker_failures: u32,
    /// How long it stays open before one exchange may try.
    pub breaker_open: Duration,
    /// The most that is read of an answer.
    pub max_answer_bytes: usize,
    /// How far STS's clock may be off from ours.
    pub clock_tolerance: Duration,
    /// Names this broker in CloudTrail's user agent.
    pub app_name: String,
}

/// A setting of the exchange is out of bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct SettingError {
    /// The setting, as in broker.yaml.
    pub key: &'static str,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl ExchangeSettings {
    /// The defaults for a region.
    pub fn new(region: impl Into<String>) -> Self {
        Self {
            region: region.into(),
            sts_endpoint: None,
            token_audience: "sts.amazonaws.com".to_owned(),
            token_ttl_seconds: 300,
            connect_timeout: Duration::from_secs(2),
            attempt_timeout: Duration::from_secs(5),
            total_timeout: Duration::from_secs(10),
            max_attempts: 3,
            backoff: Duration::from_millis(100),
            backoff_limit: Duration::from_secs(1),
            in_flight: 64,
            in_flight_wait: Duration::from_secs(1),
            breaker_failures: 5,
            breaker_open: Duration::from_secs(10),
            max_answer_bytes: 64 * 1024,
            clock_tolerance: Duration::from_secs(300),
            app_name: "agentkeys-broker".to_owned(),
        }
    }

    /// Every setting that is out of bounds.
    pub fn errors(&self) -> Vec<SettingError> {
        let mut errors = Vec::new();
        let mut wrong = |key, reason: &str| errors.push(SettingError { key, reason: reason.to_owned() });
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=32).contains(&self.region.len()) || !self.region.bytes().all(plain) {
            wrong("aws.region", "a region is lower-case letters, digits and '-', such as us-east-1");
        }
        if self.sts_endpoint.as_deref().is_some_and(|endpoint| !is_endpoint(endpoint)) {
            wrong(
                "aws.sts_endpoint",
                "an endpoint is an https URL (http on loopback only) without user name, query or fragment: tokens and credentials travel over it",
            );
        }
        if !(60..=3600).contains(&self.token_ttl_seconds) {
            wrong("aws.token_ttl", "a token lives between 60 s and 1 h");
        }
        if !agentkeys_core::grant::is_audience(&self.token_audience) {
            wrong("aws.token_audience", "an audience is 1 to 255 printable ASCII characters without a space");
        }
        if !(1..=3).contains(&self.max_attempts) {
            wrong("aws.max_attempts", "STS is asked once, twice or three times");
        }
        let times = [self.connect_timeout, self.attempt_timeout, self.total_timeout];
        if times.iter().any(Duration::is_zero) || times.windows(2).any(|pair| pair[0] > pair[1]) {
            wrong("aws.timeouts", "0 < connect ≤ attempt ≤ total");
        }
        if self.in_flight == 0 || self.in_flight > tokio::sync::Semaphore::MAX_PERMITS {
            wrong("limits.sts_in_flight", "at least one exchange must be allowed at a time");
        }
        if self.breaker_failures == 0 {
            wrong("aws.breaker_failures", "at least one failure must be allowed");
        }
        if aws_config::AppName::new(self.app_name.clone()).is_err() {
            wrong("aws.app_name", "letters, digits and a few signs, without spaces");
        }
        errors
    }

    /// Is STS something else than AWS? Only then may an answer lack the ARN of the
    /// role that was assumed. A VPC endpoint of AWS is AWS.
    pub fn foreign_endpoint(&self) -> bool {
        self.sts_endpoint.as_deref().is_some_and(|endpoint| {
            let host = endpoint.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
            !host.is_some_and(|host| {
                let host = host.to_ascii_lowercase();
                [
                    "amazonaws.com",
                    "amazonaws.com.cn",
                    "amazonaws.eu",
                    "api.aws",
                    "c2s.ic.gov",
                    "sc2s.sgov.gov",
                ]
                .iter()
                .any(|domain| host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')))
            })
        })
    }
}

fn is_endpoint(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else { return false };
    let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|a| a.is_loopback());
    (scheme == "https" || (scheme == "http" && loopback))
        && uri.query().is_none()
        && !text.contains(['@', '#'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_over_which_credentials_would_travel_in_the_clear_is_refused() {
        let with = |endpoint: &str| {
            let mut settings = ExchangeSettings::new("us-east-1");
            settings.sts_endpoint = Some(endpoint.to_owned());
            settings
        };
        for good in
            ["https://sts.example.com", "http://127.0.0.1:8333", "http://localhost:1", "http://[::1]:1"]
        {
            assert_eq!(with(good).errors(), [], "{good}");
        }
        for bad in [
            "http://sts.example.com",
            "http://10.0.0.1",
            "ftp://127.0.0.1",
            "sts.example.com",
            "https://u:p@h",
            "https://h?x",
            "",
        ] {
            assert_eq!(with(bad).errors()[0].key, "aws.sts_endpoint", "{bad}");
        }
    }

    #[test]
    fn only_what_is_not_aws_is_foreign() {
        let mut settings = ExchangeSettings::new("us-east-1");
        assert!(!settings.foreign_endpoint());
        for (endpoint, foreign) in [
            ("https://vpce-1-2.sts.us-east-1.vpce.amazonaws.com", false),
            ("https://sts.cn-north-1.amazonaws.com.cn", false),
            ("http://127.0.0.1:8333", true),
            ("https://amazonaws.com.evil.example", true),
            ("https://evilamazonaws.com", true),
        ] {
            settings.sts_endpoint = Some(endpoint.to_owned());
            assert_eq!(settings.foreign_endpoint(), foreign, "{endpoint}");
        }
    }

    #[test]
    fn nonsense_is_named() {
        let mut settings = ExchangeSettings::new("us east 1");
        settings.attempt_timeout = Duration::from_secs(60);
        settings.max_attempts = 0;
        settings.in_flight = 0;
        settings.token_ttl_seconds = 59;
        let keys: Vec<_> = settings.errors().iter().map(|error| error.key).collect();
        assert_eq!(
            keys,
            ["aws.region", "aws.token_ttl", "aws.max_attempts", "aws.timeouts", "limits.sts_in_flight"]
        );
    }
}
