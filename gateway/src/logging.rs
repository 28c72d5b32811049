//! Logs: JSON for machines, lines for people, to standard error.
//!
//! Whatever level is asked for, Pingora stays at `error`: at lower levels it
//! quotes raw request heads, and a malformed head can hold a bearer token. The
//! AWS SDK, hyper and rustls stay at `warn` for the same reason.

use std::io::IsTerminal;
use std::panic::PanicHookInfo;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people on a terminal, else JSON.
    Auto,
    /// One JSON document per line.
    Json,
    /// For people.
    Human,
}

/// Installs the process's logger: `level` as in `info` or
/// `info,agentkeys_broker_server=debug`.
pub fn install(format: LogFormat, level: &str) {
    let targets = targets(level);
    let json = match format {
        LogFormat::Json => true,
        LogFormat::Human => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let layer = if json {
        fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()
    } else {
        fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr).boxed()
    };
    // `try_init` also takes in what crates say through `log`. It fails only where
    // a logger stands already, as in tests; that one then serves.
    let _standing = tracing_subscriber::registry().with(layer.with_filter(targets)).try_init();
    std::panic::set_hook(Box::new(panicked));
}

/// What is asked for, under the caps. Directives for a capped target, or for one
/// within it, are dropped: the more specific one would win over the cap.
fn targets(level: &str) -> Targets {
    let asked: Targets = level.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let default = asked.default_level().unwrap_or(LevelFilter::INFO);
    let capped = |target: &str| {
        CAPS.iter().any(|(cap, _)| {
            target.strip_prefix(cap).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        })
    };
    let allowed =
        asked.iter().filter(|(target, _)| !capped(target)).map(|(target, level)| (target.to_owned(), level));
    Targets::new()
        .with_default(default)
        .with_targets(allowed.collect::<Vec<_>>())
        .with_targets(CAPS.iter().map(|(target, cap)| (*target, default.min(*cap))))
}

/// What other people's code may say, whatever is asked for.
const CAPS: &[(&str, LevelFilter)] = &[
    ("pingora", LevelFilter::ERROR),
    ("pingora_core", LevelFilter::ERROR),
    ("pingora_proxy", LevelFilter::ERROR),
    ("pingora_http", LevelFilter::ERROR),
    ("aws_config", LevelFilter::WARN),
    ("aws_runtime", LevelFilter::WARN),
    ("aws_sdk_sts", LevelFilter::WARN),
    ("aws_sigv4", LevelFilter::WARN),
    ("aws_smithy_http_client", LevelFilter::WARN),
    ("aws_smithy_runtime", LevelFilter::WARN),
    ("aws_smithy_runtime_api", LevelFilter::WARN),
    ("h2", LevelFilter::WARN),
    ("hyper", LevelFilter::WARN),
    ("hyper_util", LevelFilter::WARN),
    ("rustls", LevelFilter::WARN),
];

/// Says where, and not with which words: a panic's message may hold anything.
fn panicked(info: &PanicHookInfo<'_>) {
    let place = info.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
    tracing::error!(%place, "a panic; its message is withheld, since it may hold a secret");
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn no_level_loosens_what_could_quote_a_request() {
        for level in
            ["trace", "debug", "trace,pingora_proxy=trace,aws_smithy_runtime::client=trace", "nonsense=="]
        {
            let targets = targets(level);
            assert!(!targets.would_enable("pingora_proxy", &Level::WARN), "{level}");
            assert!(
                !targets.would_enable("pingora_core::protocols::http::v1::server", &Level::DEBUG),
                "{level}"
            );
            assert!(
                !targets.would_enable("aws_smithy_runtime::client::orchestrator", &Level::DEBUG),
                "{level}"
            );
            assert!(targets.would_enable("agentkeys_broker_server", &Level::INFO), "{level}");
        }
        assert!(!targets("error").would_enable("hyper", &Level::WARN));
    }
}
