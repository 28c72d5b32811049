//! Starting a command with secrets in its environment and nowhere else.

use std::ffi::OsString;
use std::process::Command;

use secrecy::{ExposeSecret, SecretString};

use super::failure::Failure;
use crate::exit::Exit;

/// Exit code of a command that cannot be started, as shells have it.
const CANNOT_START: i32 = 127;

/// Becomes the command (on Unix: the same process, so that signals and the exit
/// code are its own), with these variables and without those.
pub fn become_command(
    command: &[OsString],
    with: &[(String, SecretString)],
    without: &[&str],
) -> Result<Exit, Failure> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::new(Exit::Usage, "no command was given").next("put it after `--`"));
    };
    let mut child = Command::new(program);
    child.args(arguments);
    for name in without {
        child.env_remove(name);
    }
    for (name, value) in with {
        child.env(name, value.expose_secret());
    }
    let error = start(child);
    Failure::new(Exit::Failed, format!("cannot start {}: {error}", program.to_string_lossy())).report(false);
    std::process::exit(CANNOT_START)
}

#[cfg(unix)]
fn start(mut child: Command) -> std::io::Error {
    std::os::unix::process::CommandExt::exec(&mut child)
}

#[cfg(not(unix))]
fn start(mut child: Command) -> std::io::Error {
    match child.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => error,
    }
}
