//! Nothing ambient enters an exchange, and nothing secret leaves it.

use std::sync::Arc;

use agentkeys_broker_server::exchange::ExchangeMode::{AssumeRole, WebIdentity};

use crate::fault_sts::{self, Fault};
use crate::rig::{DAEMON_SECRET, rig};

/// Runs the two exchanges once more in a process whose environment is full of AWS
/// settings that would lead elsewhere.
#[tokio::test]
async fn nothing_ambient_enters() {
    let nowhere = "http://127.0.0.1:9";
    for test in [
        "requests::web_identity_sends_the_token_and_the_ceiling_and_no_credential",
        "requests::assume_role_is_signed_tagged_and_under_the_same_ceiling",
    ] {
        let output = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .env("AWS_ACCESS_KEY_ID", "AKIDAMBIENT")
            .env("AWS_SECRET_ACCESS_KEY", "ambient")
            .env("AWS_SESSION_TOKEN", "ambient")
            .env("AWS_REGION", "ap-south-2")
            .env("AWS_DEFAULT_REGION", "ap-south-2")
            .env("AWS_PROFILE", "no-such-profile")
            .env("AWS_CONFIG_FILE", "/nonexistent")
            .env("AWS_ENDPOINT_URL", nowhere)
            .env("AWS_ENDPOINT_URL_STS", nowhere)
            .env("AWS_ROLE_ARN", "arn:aws:iam::999999999999:role/ambient")
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent")
            .env("AWS_USE_FIPS_ENDPOINT", "true")
            .env("HTTP_PROXY", nowhere)
            .env("http_proxy", nowhere)
            .env("HTTPS_PROXY", nowhere)
            .env("ALL_PROXY", nowhere)
            .output()
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{test}: {text}");
    }
}

/// Everything that the SDK and this room say, at every level.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_is_logged_at_the_most_talkative_level() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _until_the_end = tracing::subscriber::set_default(subscriber);
    for mode in [WebIdentity, AssumeRole] {
        rig(mode, vec![Fault::None]).await.exchange().await.unwrap();
        for fault in [Fault::Error(403, "AccessDenied", "x"), Fault::OtherAccount, Fault::Truncated] {
            rig(mode, vec![fault, Fault::OtherAccount]).await.problem().await;
        }
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("aws_smithy_runtime"), "the SDK was listened to");
    for secret in [DAEMON_SECRET, fault_sts::SECRET, fault_sts::TOKEN, "eyJ"] {
        let line = text.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}
