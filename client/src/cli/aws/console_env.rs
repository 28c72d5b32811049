//! `agentkeys aws console-env`: lines for `eval "$(…)"` in a POSIX shell.

use secrecy::ExposeSecret;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{Minting, mint};
use crate::aws::shapes::{FOREIGN_VARIABLES, shell_word, variables};
use crate::cli::{Context, Failure};
use crate::exit::Exit;

pub async fn run(context: &Context<'_>, minting: &Minting) -> Result<Exit, Failure> {
    let minted = mint(context, minting).await?;
    let all = variables(&minted);
    if context.output.is_json() {
        let object: Map<String, Value> = all
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(value.expose_secret())))
            .collect();
        return context.output.document(&object);
    }
    let mut text = Zeroizing::new(String::new());
    for (name, value) in &all {
        text.push_str(&format!("export {name}={}\n", shell_word(value).expose_secret()));
    }
    text.push_str(&format!("unset {}\n", FOREIGN_VARIABLES.join(" ")));
    context.output.raw(text.as_bytes())
}
