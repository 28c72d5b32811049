//! `agentkeys completions` and `agentkeys man`: both from the command line's own
//! description, so they cannot differ from it.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

use super::failure::Failure;
use crate::exit::Exit;

/// The options.
#[derive(Args, Debug)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

/// The options.
#[derive(Args, Debug)]
pub struct Man {
    /// Write agentkeys.1, agentkeys-login.1, … and agentkeys-daemon.1 here instead
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub fn completions(options: &Completions) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut super::command(), "agentkeys", &mut script);
    io::stdout().write_all(&script)?;
    Ok(Exit::Done)
}

pub fn man(options: &Man) -> Result<Exit, Failure> {
    match &options.directory {
        Some(directory) => {
            std::fs::create_dir_all(directory)?;
            clap_mangen::generate_to(super::command(), directory)?;
            clap_mangen::generate_to(crate::daemon::command(), directory)?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(super::command()).render(&mut page)?;
            io::stdout().write_all(&page)?;
        }
    }
    Ok(Exit::Done)
}
