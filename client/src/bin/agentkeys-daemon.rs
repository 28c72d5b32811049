//! The `agentkeys-daemon` command.

#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::process::ExitCode;

use agentkeys_client::daemon;
use clap::Parser;
use tracing_subscriber::EnvFilter;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let options = daemon::Options::parse();
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let filter = EnvFilter::try_from_env("AGENTKEYS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour).init();
    match daemon::run(options, &|name| std::env::var(name).ok()).await {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.report(false);
            failure.exit.into()
        }
    }
}
