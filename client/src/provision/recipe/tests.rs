use super::*;

fn service() -> Service {
    "openrouter".parse().unwrap()
}

const SMALL: &str = "service: openrouter
names:
  - { name: site, value: https://x.example }
origins: ['${site}']
steps:
  # A comment between them.
  - name: first
    open: '${site}/a'

  - name: second
    read:
      element: code
      find: '(k-\\d+)'
      save: key
verify:
  - get: '${site}/ok'
";

fn error_of(text: &str) -> String {
    Recipe::parse(text, "r.yaml".to_owned(), &service()).unwrap_err().to_string()
}

#[test]
fn the_recipe_that_comes_with_the_program_holds() {
    let own = tempfile::tempdir().unwrap();
    let recipe = Recipe::load(&service(), None, own.path()).unwrap();
    assert_eq!(recipe.steps.len(), recipe.lines.len());
    assert!(recipe.place(0).starts_with("conf/recipes/openrouter.yaml:"));
    let unknown = Recipe::load(&"elsewhere".parse().unwrap(), None, own.path()).unwrap_err().to_string();
    assert!(unknown.contains("openrouter") && unknown.contains("/elsewhere.yaml"), "{unknown}");
}

#[test]
fn a_recipe_of_ones_own_goes_before_the_one_of_the_program() {
    let own = tempfile::tempdir().unwrap();
    std::fs::write(own.path().join("openrouter.yaml"), SMALL).unwrap();
    assert_eq!(Recipe::load(&service(), None, own.path()).unwrap().steps.len(), 2);
    // One that is wrong is an error, never passed over for another.
    std::fs::write(own.path().join("openrouter.yaml"), "steps: 1").unwrap();
    assert!(matches!(Recipe::load(&service(), None, own.path()), Err(RecipeError::Wrong { .. })));
    let gone = own.path().join("gone.yaml");
    assert!(matches!(Recipe::load(&service(), Some(&gone), own.path()), Err(RecipeError::Unreadable { .. })));
}

#[test]
fn a_second_service_is_a_second_file() {
    let text = SMALL.replace("service: openrouter", "service: other");
    let recipe = Recipe::parse(&text, "o.yaml".to_owned(), &"other".parse().unwrap()).unwrap();
    assert_eq!(recipe.place(1), "o.yaml:10: step 2 \"second\"");
    assert!(error_of(&text).contains("for other, not for openrouter"));
}

#[test]
fn an_error_names_file_line_and_step() {
    let cases = [
        (("open: '${site}/a'", "opne: x"), "r.yaml:8: step 1", "opne"),
        (("open: '${site}/a'", "open: '${sight}/a'"), "r.yaml:7: step 1 \"first\"", "${sight}"),
        (("(k-\\d+)", "(k-\\d+"), "r.yaml:12: step 2", "regular expression"),
        (("    open: '${site}/a'\n", ""), "r.yaml:7: step 1", "exactly one of"),
        (("save: key", "save: other"), "r.yaml:1:", "save: key"),
        (("element: code", "element: ''"), "r.yaml:12: step 2", "not an element"),
        (("'${site}/ok'", "'${sit}/ok'"), "r.yaml:1:", "${sit}"),
        (("open: '${site}/a'", "open: x\n    timeout: 3 days"), "step 1", "duration"),
    ];
    for ((from, to), place, about) in cases {
        assert!(SMALL.contains(from), "{from}");
        let error = error_of(&SMALL.replacen(from, to, 1));
        assert!(error.contains(place) && error.contains(about), "{from} → {to}: {error}");
    }
}

#[test]
fn templates_are_filled_and_can_be_escaped() {
    let filled = |text: &str| {
        let template: Template = text.to_owned().try_into()?;
        template.fill(|name| (name == "a").then_some("1"))
    };
    assert_eq!(filled("x${a}y${a}").unwrap(), "x1y1");
    assert_eq!(filled("$${a} costs $5").unwrap(), "${a} costs $5");
    assert!(filled("${b}").is_err() && filled("${a").is_err() && filled("${A}").is_err());
}
