//! Secrets and answers from a person or a pipe, never from an argument.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::failure::Failure;
use crate::exit::Exit;

/// As the broker: a stored value is at most this long.
const LIMIT: u64 = 65_536;

/// A secret from a prompt that does not echo, or from stdin where it is a pipe.
pub fn secret(prompt: &str, from_stdin: bool) -> Result<SecretString, Failure> {
    if !from_stdin && io::stdin().is_terminal() {
        return Ok(SecretString::from(rpassword::prompt_password(format!("{prompt}: "))?));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    io::stdin().lock().take(LIMIT + 2).read_to_end(&mut bytes)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Failure::new(Exit::Usage, "what was given on stdin is not text"))?;
    // `echo value |` adds one line end; a value's own inner lines stay.
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(Failure::new(Exit::Usage, "nothing was given on stdin"));
    }
    if text.len() as u64 > LIMIT {
        return Err(Failure::new(Exit::Usage, format!("it is longer than {LIMIT} bytes")));
    }
    Ok(SecretString::from(text))
}

/// Yes, or not. Without a person to ask, the answer is an error that names the flag.
pub fn confirm(question: &str, flag: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(Exit::Usage, "there is nobody to ask").next(format!("say so with {flag}")));
    }
    write!(io::stderr(), "{question} [y/N] ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}
