//! Does the steps of a recipe, one after the other.

use std::path::PathBuf;

use agentkeys_core::wire::MintAwsResponse;
use reqwest::Url;
use secrecy::SecretString;
use tokio::time::{Duration, Instant};

use super::browser::{Browser, BrowserError, Found, Page};
use super::mail::{Mailbox, Wanted};
use super::pictures::Pictures;
use super::recipe::{Action, Fill, Locator, Mail, Read, Recipe, Step};
use super::values::Values;
use super::{ProvisionError, explain, password, verify};

/// A person notices no difference, and a page is asked ten times a second.
const PAUSE: Duration = Duration::from_millis(100);

/// How the browser is had and shown.
#[derive(Default)]
pub struct Ways {
    /// The user's own browser, if it is to be used.
    pub cdp_url: Option<String>,
    /// The program to start, if it is not the first that is found.
    pub chrome: Option<PathBuf>,
    /// Show its window?
    pub headed: bool,
    /// Where pictures go.
    pub screenshots: Option<PathBuf>,
}

/// A new key.
pub struct Made {
    /// The key.
    pub key: SecretString,
    /// The address it was made for.
    pub email: String,
    checks: Vec<String>,
}

/// Makes a key. `say` tells a person what happens; it gets no secret.
pub async fn run(
    recipe: &Recipe,
    minted: &MintAwsResponse,
    ways: &Ways,
    say: &dyn Fn(&str),
) -> Result<Made, ProvisionError> {
    let mut values = Values::default();
    let email = minted.environment.signup_address.clone();
    values.set("email", email.clone());
    values.set("password", password::make()?);
    values.set("wallet", minted.wallet.to_string());
    for named in &recipe.names {
        values.set(&named.name, named.value.clone());
    }
    let origins = origins(recipe, &values)?;
    let local = |error: std::io::Error| ProvisionError::Local(error.to_string());
    let pictures = Pictures::into_directory(ways.screenshots.as_deref(), recipe).map_err(local)?;

    say("looking at the mailbox");
    let mailbox = Mailbox::open(minted).await?;
    say(&format!("{} messages are there already and will not be read", mailbox.len()));
    let browser = match &ways.cdp_url {
        Some(address) => Browser::attach(address).await?,
        None => Browser::launch(ways.chrome.as_deref(), ways.headed).await?,
    };
    let mut hands =
        Hands { recipe, page: browser.page(), mailbox, values, email: email.clone(), origins, pictures, say };
    let done = tokio::select! {
        done = hands.steps() => done,
        () = interrupted() => Err(ProvisionError::Local("interrupted".to_owned())),
    };
    let values = hands.values;
    // Only said: by now there may be a key, and it is worth more than a tidy end.
    if let Err(error) = browser.close().await {
        say(&format!("the browser did not close well: {error}"));
    }
    done?;
    let key = values.secret("key").cloned().ok_or_else(|| ProvisionError::Local("no key".to_owned()))?;
    let checks = recipe.verify.iter().map(|one| values.fill(&one.get)).collect::<Result<_, _>>();
    Ok(Made { key, email, checks: checks.map_err(ProvisionError::NotChecked)? })
}

/// Shows that the service accepts the key.
pub async fn prove(made: &Made, say: &dyn Fn(&str)) -> Result<(), ProvisionError> {
    for address in &made.checks {
        say(&format!("checking the key: GET {address}"));
        verify::accepted(address, &made.key).await?;
    }
    Ok(())
}

/// Somebody wants an end: the browser and its profile go first.
async fn interrupted() {
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn origins(recipe: &Recipe, values: &Values) -> Result<Vec<String>, ProvisionError> {
    let origin = |template| {
        let text = values.fill(template)?;
        let url: Url = text.parse().map_err(|_| format!("{text:?} is not an address"))?;
        Ok::<_, String>(url.origin().ascii_serialization())
    };
    recipe.origins.iter().map(origin).collect::<Result<_, _>>().map_err(ProvisionError::Local)
}

struct Hands<'a> {
    recipe: &'a Recipe,
    page: &'a Page,
    mailbox: Mailbox,
    values: Values,
    email: String,
    origins: Vec<String>,
    pictures: Pictures,
    say: &'a dyn Fn(&str),
}

impl Hands<'_> {
    async fn steps(&mut self) -> Result<(), ProvisionError> {
        let recipe = self.recipe;
        for (index, step) in recipe.steps.iter().enumerate() {
            (self.say)(&format!("{}/{} {}", index + 1, recipe.steps.len(), step.name));
            if let Some(person) = &step.person {
                (self.say)(person);
            }
            let done = self.step(step).await;
            // A picture that fails ends nothing: by now there may be an account.
            let picture = match self.pictures.take(self.page, index + 1, &step.name).await {
                Ok(Some(path)) => format!(" (picture: {})", path.display()),
                Ok(None) => String::new(),
                Err(error) => format!(" (no picture: {error})"),
            };
            if let Err(reason) = done {
                let reason = format!("{reason}; the step was: {}", explain::step(step));
                return Err(ProvisionError::Step { place: recipe.place(index), reason, picture });
            }
            if picture.starts_with(" (no") {
                (self.say)(picture.trim());
            }
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        let deadline = Instant::now() + step.patience.0;
        match &step.action {
            Action::Open(address) => {
                let url = self.allowed(&self.values.fill(address)?)?;
                self.page.go(&url).await.map_err(words)
            }
            Action::WaitFor(elements) => self.see(step, elements, deadline).await.map(drop),
            Action::Click(element) => match self.see(step, std::slice::from_ref(element), deadline).await? {
                Some(found) => self.page.click(&found).await.map_err(words),
                None => Ok(()),
            },
            Action::Fill(fill) => self.fill(step, fill, deadline).await,
            Action::Mail(mail) => self.mail(step, mail).await,
            Action::Read(read) => self.read(read, deadline).await,
        }
    }

    async fn fill(&self, step: &Step, fill: &Fill, deadline: Instant) -> Result<(), String> {
        let text = self.values.fill(&fill.text)?;
        let Some(found) = self.see(step, std::slice::from_ref(&fill.element), deadline).await? else {
            return Ok(());
        };
        self.page.click(&found).await.map_err(words)?;
        match self.page.type_into(&fill.element, &text).await.map_err(words)? {
            true => Ok(()),
            false => Err("the field did not take the text".to_owned()),
        }
    }

    async fn mail(&mut self, step: &Step, mail: &Mail) -> Result<(), String> {
        let from = self.values.fill(&mail.from)?;
        let email = self.email.clone();
        let wanted = Wanted {
            to: &email,
            from: &from,
            subject: &mail.subject,
            find: &mail.find,
            authenticated: mail.authenticated,
            since: self.mailbox.since(),
        };
        let say = self.say;
        let progress = |waited| say(&format!("still waiting for mail, {waited} s"));
        let found = self.mailbox.wait(wanted, step.patience.0, progress).await.map_err(|e| e.to_string())?;
        self.values.set(&mail.save, found);
        Ok(())
    }

    async fn read(&mut self, read: &Read, deadline: Instant) -> Result<(), String> {
        loop {
            let look = self.page.look(&read.element).await;
            let found =
                look.ok().filter(|look| self.origins.contains(&look.origin)).and_then(|look| look.found);
            if let Some(value) = found.as_ref().and_then(|found| read.find.find(&found.text)) {
                self.values.set(&read.save, value);
                // From here on it is in this process alone, and in no picture.
                return self.page.hide(&read.element).await.map_err(words);
            }
            if Instant::now() + PAUSE > deadline {
                return Err(match found {
                    Some(_) => format!("{} is there, but not {} in it", read.element, read.find),
                    None => format!("{} was not seen", read.element),
                });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until one of these can be used. `None` where the step is optional.
    async fn see(
        &self,
        step: &Step,
        elements: &[Locator],
        deadline: Instant,
    ) -> Result<Option<Found>, String> {
        let mut last = String::new();
        loop {
            for element in elements {
                match self.page.look(element).await {
                    Ok(look) if !self.origins.contains(&look.origin) => {
                        last = format!("; the browser is at {}, where nothing is done", look.origin);
                    }
                    Ok(look) => match look.found {
                        Some(found) => return Ok(Some(found)),
                        None => last = format!("; the page is {:?} at {}", look.title, look.origin),
                    },
                    // Between two pages there is none to look at.
                    Err(BrowserError::Refused { reason, .. }) if !reason.contains("valid selector") => {
                        last = format!("; {reason}");
                    }
                    Err(error) => return Err(error.to_string()),
                }
            }
            if Instant::now() + PAUSE > deadline {
                let seen: Vec<String> = elements.iter().map(ToString::to_string).collect();
                let missing = format!("{} was not seen{last}", seen.join(" or "));
                return if step.optional { Ok(None) } else { Err(missing) };
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn allowed(&self, text: &str) -> Result<Url, String> {
        let url: Url = text.parse().map_err(|_| "that is not an address".to_owned())?;
        let origin = url.origin().ascii_serialization();
        if self.origins.contains(&origin) {
            return Ok(url);
        }
        Err(format!("{origin} is not among the recipe's origins"))
    }
}

fn words(error: BrowserError) -> String {
    error.to_string()
}
