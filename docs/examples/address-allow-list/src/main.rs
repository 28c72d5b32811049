//! The broker, with one filter more.

use std::process::ExitCode;

use agentkeys_broker_server::cli;
use agentkeys_filters::Registry;

fn main() -> ExitCode {
    match address_allow_list::register(Registry::new()) {
        Ok(registry) => cli::run(&registry),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
