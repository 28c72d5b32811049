//! `backup --to DIR`: a consistent copy of the state and the audit. Signing keys
//! are not in it: a stolen backup must not sign. A lost key is replaced.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;

use super::{Global, output};
use crate::store;

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// The directory to make; it must not hold an older backup.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

pub(super) fn run(global: &Global, args: &BackupArgs) -> anyhow::Result<ExitCode> {
    let settings = global.settings()?;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&args.to)
        .with_context(|| args.to.display().to_string())?;
    let mut files = Vec::new();
    // The audit last: it then knows of everything that the state holds.
    for source in [&settings.store_path, &settings.audit.path] {
        files.push(copy(source, &args.to)?);
    }
    let audit = store::verify_file(&files[1])?;
    ensure!(audit.ok, "the copy of the audit does not verify: {}", audit.reason.unwrap_or_default());
    if global.json {
        output::json(&serde_json::json!({
            "files": files, "audit": { "records": audit.records, "head": audit.head },
        }))?;
    } else {
        files.iter().for_each(|file| println!("{}", file.display()));
        println!("the audit verifies: {} records, head {}", audit.records, audit.head);
        println!("signing keys are not in a backup: a new one is made with 'keys generate'");
    }
    Ok(ExitCode::SUCCESS)
}

fn copy(source: &Path, directory: &Path) -> anyhow::Result<PathBuf> {
    let name = source.file_name().context("a database's path names no file")?;
    let destination = directory.join(name);
    store::backup_file(source, &destination)?;
    Ok(destination)
}
