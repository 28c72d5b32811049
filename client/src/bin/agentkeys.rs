//! The `agentkeys` command.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use agentkeys_client::cli;
use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    let json = cli::wants_json(&arguments);
    match cli::run(arguments, &|name| std::env::var(name).ok()).await {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.report(json);
            failure.exit.into()
        }
    }
}
