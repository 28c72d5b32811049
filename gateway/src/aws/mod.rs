//! What an operator's AWS account needs for this broker: the documents, rendered
//! from the configuration in force (`aws policies`), and whether the account holds
//! them (`aws doctor`). It changes nothing in AWS and imports no AWS crate.

mod cloudformation;
pub mod doctor;
mod documents;
mod partition;
mod plan;
mod script;
mod size;
mod terraform;

pub use documents::{Document, Documents};
pub use partition::Partition;
pub use plan::{Plan, PlanError};
pub use size::TooLong;

/// How the documents are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// The plain documents.
    #[default]
    Json,
    /// One CloudFormation template.
    Cloudformation,
    /// One Terraform configuration, in Terraform's JSON syntax.
    Terraform,
    /// A shell script of `aws` commands that may run again.
    Cli,
}

/// One file to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name in the directory.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// The files of a plan in a format.
pub fn files(plan: &Plan, format: Format) -> Result<Vec<File>, TooLong> {
    let documents = Documents::of(plan);
    documents.check()?;
    let one = |name: &str, text: String| vec![File { name: name.to_owned(), text }];
    Ok(match format {
        Format::Json => documents
            .all()
            .into_iter()
            .map(|document| File { name: format!("{}.json", document.name), text: pretty(&document.body) })
            .collect(),
        Format::Cloudformation => {
            one("cloudformation.json", pretty(&cloudformation::template(plan, &documents)))
        }
        Format::Terraform => one("main.tf.json", pretty(&terraform::configuration(plan, &documents))),
        Format::Cli => one("setup.sh", script::script(plan, &documents)),
    })
}

/// What is printed where no directory is named: one document, whatever the format.
pub fn printed(plan: &Plan, format: Format) -> Result<String, TooLong> {
    if format == Format::Json {
        let documents = Documents::of(plan);
        documents.check()?;
        return Ok(pretty(&documents.as_one(plan)));
    }
    Ok(files(plan, format)?.into_iter().map(|file| file.text).collect())
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests;
