//! `agentkeys aws configure`: so that an SDK finds its way here without a variable.

use std::path::Path;

use clap::Args;
use serde_json::json;

use crate::aws::config_file::{self, Entry};
use crate::cli::{Context, Failure, progress};
use crate::exit::Exit;
use crate::sessions::SessionRecord;
use crate::settings::Source;

/// The options.
#[derive(Args, Debug)]
pub struct Options {
    /// The profile; `default` is the one that SDKs use when nobody says
    #[arg(long, default_value = "default", value_name = "NAME")]
    profile: String,
    /// The region to write, where the profile has none (default: the broker's)
    #[arg(long)]
    region: Option<String>,
    /// Take out what an earlier `configure` wrote
    #[arg(long)]
    undo: bool,
}

pub async fn run(context: &Context<'_>, options: &Options) -> Result<Exit, Failure> {
    let path = config_file::path(context.variables).ok_or_else(|| {
        Failure::new(Exit::Settings, "no AWS config file is known").next("set AWS_CONFIG_FILE")
    })?;
    let existing = config_file::read(&path).map_err(|error| at(&path, &error))?;
    let before = existing.clone().unwrap_or_default();
    let after = if options.undo {
        config_file::remove(&before, &options.profile)?
    } else {
        refuse_static_keys(context, &options.profile)?;
        let record = context.session()?;
        let (region, s3_endpoint) = place(context, options).await;
        let entry = Entry {
            profile: options.profile.clone(),
            credential_process: command_line(context, &record)?,
            region,
            s3_endpoint,
        };
        config_file::add(&before, &entry)?
    };
    let changed = after != before;
    if options.undo && after.is_empty() && changed {
        std::fs::remove_file(&path).map_err(|error| at(&path, &error))?;
    } else if changed {
        config_file::write(&path, &after).map_err(|error| at(&path, &error))?;
    }
    let state = match (options.undo, changed) {
        (_, false) => "was so already",
        (true, true) => "taken out",
        (false, true) => "written",
    };
    context.output.fact(
        &json!({ "path": path, "profile": options.profile, "changed": changed, "undone": options.undo }),
        &[
            ("config file", path.display().to_string()),
            ("profile", options.profile.clone()),
            ("state", state.to_owned()),
        ],
    )
}

/// Region and S3 endpoint, which the broker knows. Without them the profile still
/// gets credentials, so a broker that is away is no failure here.
async fn place(context: &Context<'_>, options: &Options) -> (Option<String>, Option<String>) {
    let asked = async {
        let (_, broker) = context.broker()?;
        Ok::<_, Failure>(broker.environment().await?)
    };
    match progress::during("Asking the broker", asked).await {
        Ok(found) => (Some(options.region.clone().unwrap_or(found.region)), found.s3_endpoint),
        Err(failure) => {
            let missing = if options.region.is_some() { "S3 endpoint" } else { "region and no S3 endpoint" };
            context.output.note(&format!(
                "Note: no {missing} was written, since the broker did not say ({}). Run it again later, or \
                 write `region` and `endpoint_url` into the profile.",
                failure.message
            ));
            (options.region.clone(), None)
        }
    }
}

/// Keys in the credentials file win over the config file's `credential_process`
/// in every SDK, silently.
fn refuse_static_keys(context: &Context<'_>, profile: &str) -> Result<(), Failure> {
    let Some(path) = config_file::credentials_path(context.variables) else { return Ok(()) };
    let text = config_file::read(&path).map_err(|error| at(&path, &error))?.unwrap_or_default();
    let header = format!("[{profile}]");
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == header;
        } else if inside && line.split('=').next().is_some_and(|key| key.trim() == "aws_access_key_id") {
            return Err(Failure::new(
                Exit::Failed,
                format!("the profile {profile} has keys in {}, and SDKs prefer those", path.display()),
            )
            .next("remove them (they are what the broker replaces), or give another `--profile NAME`"));
        }
    }
    Ok(())
}

/// The whole command, so that the profile works without this shell's variables.
fn command_line(context: &Context<'_>, record: &SessionRecord) -> Result<String, Failure> {
    let program = std::env::current_exe()?;
    let mut words = vec![program.to_string_lossy().into_owned()];
    words.extend(["aws", "credentials", "--broker-url"].map(str::to_owned));
    words.push(record.broker_url.to_string());
    words.push("--identity".to_owned());
    words.push(record.identity.to_string());
    let settings = &context.settings;
    if settings.home.source != Source::Default {
        let home = std::path::absolute(&settings.home.value)?;
        words.extend(["--home".to_owned(), home.to_string_lossy().into_owned()]);
    }
    if let (Some(file), Source::Flag | Source::Environment) =
        (&settings.ca_file.value, settings.ca_file.source)
    {
        let file = std::path::absolute(file)?;
        words.extend(["--ca-file".to_owned(), file.to_string_lossy().into_owned()]);
    }
    if settings.insecure_plain_http.value {
        words.push("--insecure-plain-http".to_owned());
    }
    words.iter().map(|word| quoted(word)).collect::<Result<Vec<_>, _>>().map(|words| words.join(" "))
}

/// As SDKs split it: double quotes around a word with a space. They disagree on
/// everything else, so a quote in a path is refused.
fn quoted(word: &str) -> Result<String, Failure> {
    if word.contains(['"', '\'', '\\']) && !cfg!(windows) {
        return Err(Failure::new(
            Exit::Failed,
            format!("{word} has a quote in it, which SDKs read differently"),
        ));
    }
    Ok(if word.contains(char::is_whitespace) { format!("\"{word}\"") } else { word.to_owned() })
}

fn at(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::LocalStore, format!("{}: {error}", path.display()))
}
