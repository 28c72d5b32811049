//! `check`: validates a configuration and prints what is in force. It reads no
//! secret and touches no state.

use std::process::ExitCode;

use agentkeys_filters::Registry;

use super::{EX_CONFIG, Global};
use crate::config::Environment;

pub(super) fn run(global: &Global, registry: &Registry) -> ExitCode {
    let problems = match global.load(&Environment::of_process(), registry) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                eprintln!("warning: {warning}");
            }
            if global.json {
                println!("{}", loaded.effective.to_json());
            } else {
                print!("{}", loaded.effective.to_yaml());
            }
            return ExitCode::SUCCESS;
        }
        Err(errors) => errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
    };
    if global.json {
        println!("{}", serde_json::json!({ "ok": false, "errors": problems }));
    }
    for problem in &problems {
        eprintln!("error: {problem}");
    }
    ExitCode::from(EX_CONFIG)
}
