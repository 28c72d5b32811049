//! `aws policies|doctor`: what the operator's AWS account needs, and whether it
//! has it. Neither changes anything in IAM.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::{Global, output};
use crate::assemble;
use crate::aws::{self, Format, Plan, doctor};
use crate::config::Environment;

#[derive(Debug, Subcommand)]
pub(super) enum AwsCommand {
    /// Print the IAM documents for the configuration in force.
    Policies(PoliciesArgs),
    /// Check the issuer, the key, IAM, an exchange and its isolation; exit 1 where a check fails.
    Doctor(DoctorArgs),
}

#[derive(Debug, Args)]
pub(super) struct PoliciesArgs {
    /// How they are written.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The AWS account, where the configuration says `auto`.
    #[arg(long, value_name = "123456789012")]
    account: Option<String>,
    /// Write the files into this directory instead.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// The AWS account, where the configuration says `auto` and the daemon key cannot say it.
    #[arg(long, value_name = "123456789012")]
    account: Option<String>,
    /// More certificates to trust when the issuer is fetched (PEM).
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Another IAM than the partition's.
    #[arg(long, value_name = "URL")]
    iam_endpoint: Option<String>,
    /// Read only: no exchange, and no test object in the bucket.
    #[arg(long)]
    no_exchange: bool,
}

pub(super) fn run(global: &Global, command: AwsCommand) -> anyhow::Result<ExitCode> {
    match command {
        AwsCommand::Policies(args) => policies(global, &args),
        AwsCommand::Doctor(args) => check(global, args),
    }
}

fn policies(global: &Global, args: &PoliciesArgs) -> anyhow::Result<ExitCode> {
    let plan = Plan::new(&global.settings()?, args.account.as_deref())?;
    for warning in &plan.warnings {
        eprintln!("warning: {warning}");
    }
    match &args.out {
        None => print!("{}", aws::printed(&plan, args.format)?),
        Some(directory) => {
            let written = write(directory, &aws::files(&plan, args.format)?)?;
            if global.json {
                output::json(&serde_json::json!({ "files": written }))?;
            } else {
                written.iter().for_each(|path| println!("{}", path.display()));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn write(directory: &Path, files: &[aws::File]) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    files
        .iter()
        .map(|file| {
            let path = directory.join(&file.name);
            std::fs::write(&path, &file.text).with_context(|| path.display().to_string())?;
            Ok(path)
        })
        .collect()
}

fn check(global: &Global, args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let settings = global.settings()?;
    assemble::install_crypto()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let options = doctor::Options {
        account: args.account,
        ca_file: args.ca_file,
        iam_endpoint: args.iam_endpoint,
        exchange: !args.no_exchange,
    };
    let rows = runtime.block_on(doctor::run(&settings, &Environment::of_process(), options))?;
    if global.json {
        output::json_lines(&rows)?;
    } else {
        let shown: Vec<_> = rows
            .iter()
            .map(|row| [row.name.clone(), row.status.as_str().to_owned(), row.detail.clone()])
            .collect();
        output::table(["CHECK", "STATUS", "DETAIL"], &shown);
        for row in rows.iter().filter(|row| row.fix.is_some()) {
            println!("\n{}: {}", row.name, row.fix.as_deref().unwrap_or_default());
        }
    }
    let failed = rows.iter().any(|row| row.status == doctor::Status::Fail);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
