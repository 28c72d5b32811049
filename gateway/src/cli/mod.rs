//! The command line: one file per group of commands.
//!
//! Commands that concern a running broker speak to its Unix socket; the socket's
//! file mode is the authentication. Human output by default, `--json` for
//! scripts.

mod audit;
mod aws;
mod backup;
mod check;
mod grant;
mod invite;
mod keys;
mod output;
mod pair;
mod serve;
mod session;
mod socket;

use std::path::PathBuf;
use std::process::ExitCode;

use agentkeys_filters::Registry;
use anyhow::anyhow;
use clap::{Args, Parser, Subcommand};

use crate::assemble::chain_problems;
use crate::config::{CliOverrides, ConfigError, Environment, Loaded, Settings};
use socket::AdminSocket;

/// `sysexits.h`: the configuration is wrong.
const EX_CONFIG: u8 = 78;

/// The AgentKeys broker: session in, temporary AWS credentials out.
#[derive(Debug, Parser)]
#[command(name = "agentkeys-broker-server", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The configuration; without one the local defaults hold.
    #[arg(long, global = true, value_name = "FILE", env = "BROKER_CONFIG")]
    config: Option<PathBuf>,
    /// Where the broker keeps its state.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print JSON: one document, or one per line for lists.
    #[arg(long, global = true)]
    json: bool,
}

impl Global {
    /// The configuration in force, or everything that is wrong with it.
    fn load(&self, environment: &Environment, registry: &Registry) -> Result<Loaded, Vec<ConfigError>> {
        let overrides = CliOverrides { data_dir: self.data_dir.clone() };
        Settings::load_with(self.config.as_deref(), environment, &overrides, &|settings| {
            chain_problems(settings, registry)
        })
    }

    /// The settings, for commands that only need to know where things are.
    fn settings(&self) -> anyhow::Result<Settings> {
        Settings::load(
            self.config.as_deref(),
            &Environment::of_process(),
            &CliOverrides { data_dir: self.data_dir.clone() },
        )
        .map(|loaded| loaded.settings)
        .map_err(|errors| {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            anyhow!("{}", lines.join("\n       "))
        })
    }

    /// The running broker.
    fn socket(&self) -> anyhow::Result<AdminSocket> {
        AdminSocket::new(self.settings()?.admin_socket)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM (the default).
    Serve,
    /// Validate the configuration and print what is in force, secrets redacted.
    Check,
    /// Issue, list, show and revoke sessions.
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// Say which wallet may use which role or audience.
    #[command(subcommand)]
    Grant(grant::GrantCommand),
    /// Let new wallets enrol with one-time codes.
    #[command(subcommand)]
    Invite(invite::InviteCommand),
    /// Let devices in, or turn them away.
    #[command(subcommand)]
    Pair(pair::PairCommand),
    /// Read and verify the audit.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// List, generate, rotate and retire signing keys.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Print what AWS needs for this configuration, and check that it is there.
    #[command(subcommand)]
    Aws(aws::AwsCommand),
    /// Copy the databases into a new directory, while the broker runs or not.
    Backup(backup::BackupArgs),
}

/// Runs the command line with the filters of `registry`.
pub fn run(registry: &Registry) -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => return serve::run(&cli.global, registry),
        Command::Check => return check::run(&cli.global, registry),
        Command::Session(command) => session::run(&cli.global, command),
        Command::Grant(command) => grant::run(&cli.global, command),
        Command::Invite(command) => invite::run(&cli.global, command),
        Command::Pair(command) => pair::run(&cli.global, command),
        Command::Audit(command) => audit::run(&cli.global, command),
        Command::Keys(command) => keys::run(&cli.global, command),
        Command::Aws(command) => aws::run(&cli.global, command),
        Command::Backup(args) => backup::run(&cli.global, &args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
