//! `audit tail|list|verify|export`.
//!
//! `verify` and `export` also work on the file itself while no broker runs.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use agentkeys_core::audit::{AuditRecord, Verification};
use agentkeys_core::{MintId, Timestamp};
use clap::Subcommand;
use serde::Deserialize;

use super::socket::AdminSocket;
use super::{Global, output};
use crate::admin::audit::{ListQuery, MAX_RECORDS};

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Show the newest records.
    List {
        /// How many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Only those of this mint.
        #[arg(long)]
        mint_id: Option<MintId>,
    },
    /// Show records as they are written, until interrupted.
    Tail,
    /// Recompute the whole hash chain; exit 1 where it is broken.
    Verify {
        /// A file instead of the running broker's.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Write every record as JSON lines to standard output.
    Export,
}

#[derive(Deserialize)]
struct Records {
    records: Vec<AuditRecord>,
}

pub(super) fn run(global: &Global, command: AuditCommand) -> anyhow::Result<ExitCode> {
    match command {
        AuditCommand::List { limit, mint_id } => {
            show(global, &newest(&global.socket()?, limit, mint_id)?)?;
        }
        AuditCommand::Tail => tail(global)?,
        AuditCommand::Verify { file } => return verify(global, file),
        AuditCommand::Export => export(&global.socket()?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The newest `limit` records, in as many pages as that takes.
fn newest(socket: &AdminSocket, limit: usize, mint_id: Option<MintId>) -> anyhow::Result<Vec<AuditRecord>> {
    let page = |query: ListQuery| -> anyhow::Result<Vec<AuditRecord>> {
        Ok(socket.get::<Records>("/admin/v1/audit", &query)?.records)
    };
    if mint_id.is_some() || limit <= MAX_RECORDS {
        return page(ListQuery { limit: Some(limit), after: None, mint_id });
    }
    let head = page(ListQuery { limit: Some(1), ..ListQuery::default() })?;
    let Some(head) = head.last().map(|record| record.seq) else { return Ok(head) };
    let mut records = Vec::new();
    let mut after = head.saturating_sub(limit as u64);
    while after < head {
        let next = page(ListQuery { after: Some(after), limit: Some(MAX_RECORDS), mint_id: None })?;
        let Some(last) = next.last() else { break };
        after = last.seq;
        records.extend(next.into_iter().filter(|record| record.seq <= head));
    }
    Ok(records)
}

fn show(global: &Global, records: &[AuditRecord]) -> anyhow::Result<()> {
    if global.json {
        return output::json_lines(records);
    }
    let rows: Vec<_> = records
        .iter()
        .map(|record| {
            let entry = &record.entry;
            [
                record.seq.to_string(),
                Timestamp::from_unix(entry.at_ms / 1000).to_string(),
                entry.phase.as_str().to_owned(),
                entry.action.clone(),
                entry.outcome.clone(),
                entry.wallet.clone().unwrap_or_default(),
                entry.target.clone().unwrap_or_default(),
                entry.mint_id.clone(),
            ]
        })
        .collect();
    output::table(["SEQ", "TIME", "PHASE", "ACTION", "OUTCOME", "WALLET", "TARGET", "MINT"], &rows);
    Ok(())
}

fn tail(global: &Global) -> anyhow::Result<()> {
    let socket = global.socket()?;
    let newest: Records =
        socket.get("/admin/v1/audit", &ListQuery { limit: Some(10), ..ListQuery::default() })?;
    show(global, &newest.records)?;
    let mut last = newest.records.last().map_or(0, |record| record.seq);
    loop {
        // The broker offers no push on this socket; a poll a second is what
        // a person reading along can tell apart.
        socket.pause(Duration::from_secs(1));
        let query = ListQuery { after: Some(last), limit: Some(MAX_RECORDS), mint_id: None };
        let more: Records = socket.get("/admin/v1/audit", &query)?;
        if let Some(newest) = more.records.last() {
            last = newest.seq;
            show(global, &more.records)?;
        }
    }
}

fn export(socket: &AdminSocket) -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut after = 0;
    loop {
        let query = ListQuery { after: Some(after), limit: Some(MAX_RECORDS), mint_id: None };
        let page: Records = socket.get("/admin/v1/audit", &query)?;
        let Some(last) = page.records.last() else { break };
        after = last.seq;
        for record in &page.records {
            serde_json::to_writer(&mut out, record)?;
            out.write_all(b"\n")?;
        }
    }
    out.flush()?;
    Ok(())
}

fn verify(global: &Global, file: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let socket = global.socket()?;
    let result: Verification = match file {
        Some(file) => crate::store::verify_file(&file)?,
        None if socket.answers() => socket.post("/admin/v1/audit/verify", &())?,
        None => crate::store::verify_file(&global.settings()?.audit.path)?,
    };
    if global.json {
        output::json(&result)?;
    } else if result.ok {
        println!("ok: {} records, head {}", result.records, result.head);
        if result.unfinished > 0 {
            println!("{} mints have an intent and no outcome: the broker died in between", result.unfinished);
        }
    } else {
        println!(
            "BROKEN at record {}: {}",
            result.first_bad.map_or_else(|| "?".to_owned(), |seq| seq.to_string()),
            result.reason.as_deref().unwrap_or("unknown")
        );
    }
    Ok(if result.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
