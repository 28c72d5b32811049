//! `keys list|generate|rotate|retire`: through the running broker, or on the key
//! files themselves while none runs, so that a hosted broker's first key can be
//! made before its first start.

use std::process::ExitCode;

use agentkeys_core::Timestamp;
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Global, output};
use crate::admin::keys::{KeyRow, RetireQuery, RotateRequest};
use crate::issuer::{KeyDirectory, KeyEvent};

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// List the published keys.
    List,
    /// Make the next key. It is published at once and signs after a rotation.
    Generate,
    /// Let the next key sign; the current one stays published until what it signed has ended.
    Rotate {
        /// Even if caches may not know the next key yet.
        #[arg(long)]
        force: bool,
    },
    /// Take a key out of the set.
    Retire {
        /// The key, as `keys list` shows it.
        // One in 64 begins with a hyphen.
        #[arg(allow_hyphen_values = true)]
        kid: String,
        /// At once: what it signed is refused from then on.
        #[arg(long)]
        now: bool,
    },
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<KeyRow>,
}

#[derive(Serialize, Deserialize)]
struct Events {
    events: Vec<Value>,
}

pub(super) fn run(global: &Global, command: KeysCommand) -> anyhow::Result<ExitCode> {
    let socket = global.socket()?;
    if !socket.answers() {
        return offline(global, command);
    }
    let events: Events = match command {
        KeysCommand::List => {
            let found: Keys = socket.get("/admin/v1/keys", &())?;
            show(global, &found.keys)?;
            return Ok(ExitCode::SUCCESS);
        }
        KeysCommand::Generate => socket.post("/admin/v1/keys/generate", &())?,
        KeysCommand::Rotate { force } => socket.post("/admin/v1/keys/rotate", &RotateRequest { force })?,
        KeysCommand::Retire { kid, now } => {
            let query = serde_urlencoded::to_string(RetireQuery { now })?;
            socket.delete(&format!("/admin/v1/keys/{kid}?{query}"))?
        }
    };
    say(global, &events.events)
}

fn offline(global: &Global, command: KeysCommand) -> anyhow::Result<ExitCode> {
    let settings = global.settings()?.issuer_settings()?;
    let directory = KeyDirectory::new(settings);
    let now = Timestamp::now();
    let events: Vec<KeyEvent> = match command {
        KeysCommand::List => {
            let keys: Vec<KeyRow> = directory.list()?.into_iter().map(KeyRow::from).collect();
            show(global, &keys)?;
            return Ok(ExitCode::SUCCESS);
        }
        KeysCommand::Generate => vec![directory.generate(now)?],
        KeysCommand::Rotate { force } => directory.rotate(now, force)?,
        KeysCommand::Retire { kid, now: at_once } => vec![directory.retire(&kid, at_once)?],
    };
    let events = events.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?;
    say(global, &events)
}

fn show(global: &Global, keys: &[KeyRow]) -> anyhow::Result<()> {
    if global.json {
        return output::json_lines(keys);
    }
    let time = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    let rows: Vec<_> = keys
        .iter()
        .map(|key| {
            [
                key.kid.clone(),
                key.state.clone(),
                key.created_at.to_string(),
                time(key.activated_at),
                time(key.retired_at),
            ]
        })
        .collect();
    output::table(["KID", "STATE", "CREATED", "SIGNS SINCE", "RETIRED"], &rows);
    Ok(())
}

fn say(global: &Global, events: &[Value]) -> anyhow::Result<ExitCode> {
    if global.json {
        output::json_lines(events)?;
    } else {
        for event in events {
            let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let kids = [text("kid"), text("from"), text("to")];
            let kids: Vec<&str> = kids.iter().map(String::as_str).filter(|kid| !kid.is_empty()).collect();
            println!("{} {}", text("event"), kids.join(" -> "));
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: KeysCommand,
    }

    #[test]
    fn a_kid_that_begins_with_a_hyphen_can_be_retired() {
        let kid = "-9QyOAvZduHphYjj129mTr34Xhm2tBlHjILVjA6Awn4";
        for (words, at_once) in [(vec![kid], false), (vec![kid, "--now"], true), (vec!["--now", kid], true)] {
            let line = Line::try_parse_from(["keys", "retire"].into_iter().chain(words)).unwrap();
            assert!(
                matches!(line.command, KeysCommand::Retire { kid: ref k, now } if k == kid && now == at_once)
            );
        }
    }
}
