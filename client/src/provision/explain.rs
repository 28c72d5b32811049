//! A recipe in words, for `--dry-run` and for progress.

use super::recipe::{Action, Recipe, Step};

/// What a step does, with names and not values.
pub fn step(step: &Step) -> String {
    let what = match &step.action {
        Action::Open(address) => format!("open {address}"),
        Action::WaitFor(elements) => {
            let elements: Vec<String> = elements.iter().map(ToString::to_string).collect();
            format!("wait until {} can be seen", elements.join(" or "))
        }
        Action::Fill(fill) => format!("type {} into {}", fill.text, fill.element),
        Action::Click(element) => format!("click {element}"),
        Action::Mail(mail) => format!(
            "wait for mail from {} whose subject has {}{}, and take {} from it as ${{{}}}",
            mail.from,
            mail.subject,
            if mail.authenticated { " and whose sender was verified" } else { "" },
            mail.find,
            mail.save
        ),
        Action::Read(read) => format!("read {} from {} as ${{{}}}", read.find, read.element, read.save),
    };
    let otherwise = if step.optional { ", or go on without" } else { "" };
    format!("{what} (within {}{otherwise})", step.patience)
}

/// The whole recipe, a line each.
pub fn explain(recipe: &Recipe) -> Vec<String> {
    let names = recipe.names.iter().map(|named| format!("${{{}}} is {}", named.name, named.value));
    let steps = recipe
        .steps
        .iter()
        .enumerate()
        .map(|(index, one)| format!("{}. {}: {}", index + 1, one.name, step(one)));
    let verify = recipe.verify.iter().map(|verify| format!("GET {} must answer 200 to ${{key}}", verify.get));
    names.chain(steps).chain(verify).collect()
}
