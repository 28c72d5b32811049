//! `docs/client.md` says what the code says: both tables are the code's own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's own machinery fails loudly"
)]

use agentkeys_client::exit::Exit;
use agentkeys_client::settings::table::{SETTINGS, variable};

fn document() -> (std::path::PathBuf, String) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/client.md");
    let text = std::fs::read_to_string(&path).expect("docs/client.md");
    (path, text)
}

/// Compares, or with `UPDATE_DOCS=1` writes, what stands after a marker.
fn holds(marker: &str, table: &str) {
    let (path, text) = document();
    let begin = format!("<!-- {marker} -->\n");
    let (before, rest) = text.split_once(&begin).expect("the marker");
    let (found, after) = rest.split_once("<!-- end -->").expect("the end marker");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, format!("{before}{begin}{table}<!-- end -->{after}")).expect("written");
        return;
    }
    assert_eq!(found, table, "run this test with UPDATE_DOCS=1 and look at the difference");
}

#[test]
fn both_tables_are_the_codes_own() {
    let mut settings = String::from("| key | variable | flag | default | meaning |\n|---|---|---|---|---|\n");
    for setting in SETTINGS {
        let flag =
            if setting.flag { format!("`--{}`", setting.name.replace('_', "-")) } else { "–".into() };
        settings.push_str(&format!(
            "| `{}` | `{}` | {flag} | {} | {} |\n",
            setting.name,
            variable(setting.name),
            setting.default,
            setting.meaning
        ));
    }
    holds("settings", &settings);

    let mut codes = String::from("| code | meaning |\n|---|---|\n");
    for exit in Exit::ALL {
        codes.push_str(&format!("| {} | {} |\n", exit.code(), exit.meaning()));
    }
    holds("exit codes", &codes);
}

#[test]
fn every_command_that_is_named_exists() {
    let (_, text) = document();
    let mut seen = 0;
    for words in text.split("agentkeys ").skip(1) {
        let mut command = agentkeys_client::cli::command();
        let named: Vec<&str> = words
            .split(|c: char| c.is_whitespace() || c == '`' || c == ')')
            .take_while(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
            .take_while(|word| !word.starts_with('-'))
            .collect();
        for word in named {
            if !command.has_subcommands() {
                break;
            }
            command = command.find_subcommand(word).unwrap_or_else(|| panic!("agentkeys {word}")).clone();
            seen += 1;
        }
    }
    assert!(seen > 15, "{seen}");
}
