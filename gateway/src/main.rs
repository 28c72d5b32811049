//! The broker's binary. `cli::serve` tells how a process starts; a binary of your
//! own with further filters is this file with a longer registry.

use std::process::ExitCode;

use agentkeys_broker_server::cli;
use agentkeys_filters::Registry;

fn main() -> ExitCode {
    cli::run(&Registry::new())
}
