//! Facts on stdout, notes on stderr; colour only where a person looks.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::failure::Failure;
use crate::exit::Exit;
use crate::settings::Variables;

/// The way out of a command.
pub struct Output {
    json: bool,
    bold: bool,
}

impl Output {
    /// JSON or text. `NO_COLOR` and a dumb terminal are respected.
    pub fn new(json: bool, variables: Variables) -> Self {
        let plain = variables("NO_COLOR").is_some_and(|text| !text.is_empty())
            || variables("TERM").is_some_and(|term| term == "dumb");
        Self { json, bold: !plain && io::stdout().is_terminal() }
    }

    /// Is it JSON?
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Is a person looking at stdout?
    pub fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// One fact: the JSON document, or these lines of name and value.
    pub fn fact(&self, value: &impl Serialize, rows: &[(&str, String)]) -> Result<Exit, Failure> {
        if self.json {
            return self.document(value);
        }
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let text: String = rows
            .iter()
            .map(|(name, value)| {
                format!("{}  {}\n", self.strong(&format!("{name:<width$}")), printable(value))
            })
            .collect();
        self.raw(text.as_bytes())
    }

    /// A table, or with JSON one document per line.
    pub fn table<T: Serialize>(
        &self,
        rows: &[T],
        header: &[&str],
        cells: impl Fn(&T) -> Vec<String>,
        nothing: &str,
    ) -> Result<Exit, Failure> {
        if self.json {
            for row in rows {
                self.document(row)?;
            }
            return Ok(Exit::Done);
        }
        if rows.is_empty() {
            self.note(nothing);
            return Ok(Exit::Done);
        }
        let mut lines = vec![header.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()];
        lines.extend(rows.iter().map(|row| cells(row).iter().map(|cell| printable(cell)).collect()));
        let widths: Vec<usize> = (0..header.len())
            .map(|i| {
                lines.iter().filter_map(|line| line.get(i)).map(|c| c.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for (n, line) in lines.iter().enumerate() {
            let joined = line
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect::<Vec<_>>()
                .join("  ");
            let joined = joined.trim_end();
            text.push_str(&if n == 0 { self.strong(joined) } else { joined.to_owned() });
            text.push('\n');
        }
        self.raw(text.as_bytes())
    }

    /// A JSON document on a line.
    pub fn document(&self, value: &impl Serialize) -> Result<Exit, Failure> {
        let mut text = zeroize::Zeroizing::new(
            serde_json::to_vec(value).map_err(|e| Failure::new(Exit::Failed, e.to_string()))?,
        );
        text.push(b'\n');
        self.raw(&text)
    }

    /// These bytes on stdout. A reader that has seen enough (`| head`) is no error.
    pub fn raw(&self, bytes: &[u8]) -> Result<Exit, Failure> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(Exit::Done),
        }
    }

    /// Something for a person, on stderr.
    pub fn note(&self, text: &str) {
        // A note that nobody can read is not worth failing for.
        let _ = writeln!(io::stderr(), "{text}");
    }

    fn strong(&self, text: &str) -> String {
        if self.bold { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// A value from elsewhere never moves the cursor of this terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
