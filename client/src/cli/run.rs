//! `agentkeys run`: a command with stored API keys in its environment.

use std::ffi::OsString;

use agentkeys_core::scope::Service;
use clap::Args;
use secrecy::SecretString;

use super::context::Context;
use super::failure::Failure;
use super::{child, progress};
use crate::exit::Exit;

/// The options.
#[derive(Args, Debug)]
pub struct Options {
    /// A variable and the service whose key it gets, such as OPENROUTER_API_KEY=openrouter
    #[arg(long = "env", value_name = "NAME=SERVICE", value_parser = assignment, required = true)]
    assignments: Vec<(String, Service)>,
    /// The command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

fn assignment(text: &str) -> Result<(String, Service), String> {
    let (name, service) = text.split_once('=').ok_or("expected NAME=SERVICE")?;
    let begins = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !begins || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(format!("{name:?} is not a variable's name"));
    }
    Ok((name.to_owned(), service.parse().map_err(|e| format!("{e}"))?))
}

pub async fn run(context: &Context<'_>, options: Options) -> Result<Exit, Failure> {
    let (_, broker) = context.broker()?;
    let mut variables: Vec<(String, SecretString)> = Vec::new();
    for (name, service) in &options.assignments {
        let found = progress::during("Reading", broker.read_credential(service)).await.map_err(|error| {
            let failure = Failure::from(error);
            match failure.exit {
                Exit::NotFound => failure.next(format!("store it first: `agentkeys store {service}`")),
                _ => failure,
            }
        })?;
        variables.push((name.clone(), found.value));
    }
    child::become_command(&options.command, &variables, &[])
}
