//! `agentkeys whoami` and `agentkeys environment`: what the broker says of us.

use agentkeys_core::scope_text;
use agentkeys_core::wire::SessionView;
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::progress;
use crate::exit::Exit;
use crate::sessions::SessionRecord;

pub async fn run(context: &Context<'_>) -> Result<Exit, Failure> {
    let (record, broker) = context.broker()?;
    let view = progress::during("Asking the broker", broker.session()).await?;
    show(context, &record, &view)
}

/// The session as a person and as a script see it.
pub fn show(context: &Context<'_>, record: &SessionRecord, view: &SessionView) -> Result<Exit, Failure> {
    let mut value = serde_json::to_value(view).map_err(|e| Failure::new(Exit::Failed, e.to_string()))?;
    value["broker_url"] = json!(record.broker_url);
    value["identity"] = json!(record.identity);
    let mut rows = vec![
        ("wallet", view.wallet.to_string()),
        ("broker", record.broker_url.to_string()),
        ("identity", record.identity.to_string()),
        ("session", view.session_id.to_string()),
        ("kind", format!("{:?}", view.kind).to_lowercase()),
        ("scope", scope(&scope_text::format(&view.scope))),
        ("expires", view.expires_at.to_string()),
    ];
    rows.extend(view.label.clone().map(|label| ("label", label)));
    rows.extend(view.parent.clone().map(|parent| ("parent", parent.to_string())));
    context.output.fact(&value, &rows)
}

/// The scope string, or a word where there is no limit.
pub fn scope(text: &str) -> String {
    if text.is_empty() { "everything".to_owned() } else { text.to_owned() }
}

pub async fn environment(context: &Context<'_>) -> Result<Exit, Failure> {
    let (_, broker) = context.broker()?;
    let found = progress::during("Asking the broker", broker.environment()).await?;
    let mut rows = vec![
        ("region", found.region.clone()),
        ("bucket", found.bucket.clone()),
        ("prefix", found.prefix.clone()),
        ("mail domain", found.mail_domain.clone()),
        ("sign-up address", found.signup_address.clone()),
    ];
    rows.extend(found.s3_endpoint.clone().map(|endpoint| ("S3 endpoint", endpoint)));
    context.output.fact(&found, &rows)
}
