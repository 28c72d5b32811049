//! `agentkeys config`: every setting, its value, and who said so.

use serde::Serialize;
use serde_json::Value;

use super::context::Context;
use super::failure::Failure;
use crate::exit::Exit;
use crate::settings::table::{SETTINGS, variable};

#[derive(Serialize)]
struct Row {
    name: &'static str,
    value: Value,
    source: String,
    variable: String,
    default: &'static str,
    meaning: &'static str,
}

pub fn run(context: &Context<'_>) -> Result<Exit, Failure> {
    let values = serde_json::to_value(&context.settings)
        .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let rows: Vec<Row> = SETTINGS
        .iter()
        .map(|setting| Row {
            name: setting.name,
            value: values[setting.name]["value"].clone(),
            source: values[setting.name]["source"].as_str().unwrap_or_default().to_owned(),
            variable: variable(setting.name),
            default: setting.default,
            meaning: setting.meaning,
        })
        .collect();
    context.output.table(
        &rows,
        &["SETTING", "VALUE", "FROM", "VARIABLE", "MEANING"],
        |row| {
            let value = match &row.value {
                Value::Null => format!("({})", row.default),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            vec![row.name.to_owned(), value, row.source.clone(), row.variable.clone(), row.meaning.to_owned()]
        },
        "",
    )
}
