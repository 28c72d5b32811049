//! `agentkeys provision`: an API key from a service's own site, stored for this
//! wallet. The broker's URL and a session are all that it starts from.

use std::path::PathBuf;

use agentkeys_core::scope::Service;
use agentkeys_core::wire::{MintAwsRequest, StoreCredentialRequest};
use clap::Args;
use secrecy::ExposeSecret;
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::progress;
use crate::broker::Broker;
use crate::exit::Exit;
use crate::files;
use crate::provision::recipe::{Recipe, RecipeError};
use crate::provision::{self, Made, ProvisionError, Ways};

/// The options.
#[derive(Args, Debug)]
pub struct Options {
    /// The service, such as openrouter
    service: Service,
    /// Another recipe than ~/.agentkeys/recipes/SERVICE.yaml or the one that comes with the program
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Explain each step and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Make a key although one is stored already; the new one takes its place
    #[arg(long)]
    force: bool,
    /// Go on although AWS_* or an API key is in the environment (neither is used)
    #[arg(long)]
    allow_ambient: bool,
    /// Show the browser's window. CDP_URL attaches to a browser that runs already
    #[arg(long)]
    headed: bool,
    /// The Chrome or Chromium to start
    #[arg(long, value_name = "PATH")]
    chrome: Option<PathBuf>,
    /// Keep pictures of the steps in this directory, which is made private
    #[arg(long, value_name = "DIR")]
    screenshots: Option<PathBuf>,
}

pub async fn run(context: &Context<'_>, options: Options) -> Result<Exit, Failure> {
    let own = context.settings.home.value.join("recipes");
    let recipe = Recipe::load(&options.service, options.recipe.as_deref(), &own)?;
    if options.dry_run {
        let lines = provision::explain(&recipe);
        if context.output.is_json() {
            return context
                .output
                .document(&json!({ "service": options.service, "recipe": recipe.file, "steps": lines }));
        }
        return context.output.raw(format!("{}\n", lines.join("\n")).as_bytes());
    }
    if !options.allow_ambient {
        refuse_ambient(&options.service)?;
    }
    let (_, broker) = context.broker()?;
    // Before anything is signed up for: can the key be kept in the end?
    let stored = progress::during("Asking the broker", broker.credentials()).await?;
    if !options.force && stored.credentials.iter().any(|one| one.service == options.service.as_str()) {
        return Err(Failure::new(Exit::Failed, format!("a key for {} is stored already", options.service))
            .next(format!("`agentkeys read {}` shows it; --force makes another", options.service)));
    }
    // The mail is only read.
    let request = MintAwsRequest { read_only: Some(true), ..MintAwsRequest::default() };
    let minted = progress::during("Asking the broker", broker.mint_aws(&request)).await?;
    let ways = Ways {
        cdp_url: (context.variables)("CDP_URL").filter(|url| !url.is_empty()),
        chrome: options.chrome,
        headed: options.headed,
        screenshots: options.screenshots,
    };
    let say = |text: &str| context.output.note(text);
    let made = provision::run(&recipe, &minted, &ways, &say).await?;
    keep(context, &broker, &options.service, &made, &say).await?;
    context.output.fact(
        &json!({
            "service": options.service, "stored": true, "verified": true,
            "email": made.email, "wallet": minted.wallet, "mint_id": minted.mint_id,
        }),
        &[
            ("stored", options.service.to_string()),
            ("account", made.email.clone()),
            ("read it with", format!("agentkeys read {}", options.service)),
        ],
    )
}

/// Proves and stores it. A key that was made is never lost: what is not stored
/// goes into a file that only its owner may read.
async fn keep(
    context: &Context<'_>,
    broker: &Broker,
    service: &Service,
    made: &Made,
    say: &dyn Fn(&str),
) -> Result<(), Failure> {
    let kept = async {
        provision::prove(made, say).await?;
        let request = StoreCredentialRequest { value: made.key.clone() };
        progress::during("Storing", broker.store_credential(service, &request)).await?;
        Ok::<_, Failure>(())
    };
    let Err(failure) = kept.await else { return Ok(()) };
    let path = context.settings.home.value.join("unstored").join(service.as_str());
    files::write_private(&path, made.key.expose_secret().as_bytes())?;
    let path = path.display();
    let message = format!("a key was made but not stored: {}", failure.message);
    Err(Failure { message, ..failure }
        .next(format!("it is in {path}: `agentkeys store {service} < {path}`, then remove the file")))
}

/// A key in the environment would prove nothing about the broker, and a person
/// who has one there should know that it is still readable by every program.
fn refuse_ambient(service: &Service) -> Result<(), Failure> {
    let own = format!("{}_API_KEY", service.as_str().to_uppercase().replace(['-', '.'], "_"));
    let mut found: Vec<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with("AWS_") || *name == own)
        .collect();
    if found.is_empty() {
        return Ok(());
    }
    found.sort();
    Err(Failure::new(Exit::Settings, format!("the environment has {}", found.join(", ")))
        .next("unset them: the broker gives what is needed; --allow-ambient goes on without using them"))
}

impl From<RecipeError> for Failure {
    fn from(error: RecipeError) -> Self {
        let exit = match error {
            RecipeError::Unknown { .. } => Exit::NotFound,
            RecipeError::Unreadable { .. } | RecipeError::Wrong { .. } => Exit::Settings,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<ProvisionError> for Failure {
    fn from(error: ProvisionError) -> Self {
        let failure = Self::new(Exit::Failed, error.to_string());
        match error {
            ProvisionError::Step { .. } => failure.next(
                "--screenshots DIR shows what the browser saw; mend a copy of the recipe and pass it with --recipe",
            ),
            ProvisionError::Browser(_) => failure.next(
                "install Chromium (Debian: apt-get install chromium), name one with --chrome, or set CDP_URL",
            ),
            _ => failure,
        }
    }
}
