//! One tab: open, look, click, type, read. It acts as a hand would, by mouse and
//! keyboard events, and only the page's own origin decides what it may see.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};

use super::BrowserError;
use super::cdp::Connection;
use crate::provision::recipe::Locator;

const LOOK: &str = include_str!("look.js");
const COVER: &str = include_str!("cover.js");
const ACT: &str = include_str!("act.js");

/// A tab.
pub struct Page {
    connection: Connection,
    target: String,
    session: String,
}

/// What is on the page.
#[derive(Debug, Deserialize)]
pub struct Look {
    /// The page's origin.
    pub origin: String,
    /// The page's title.
    pub title: String,
    /// The first element that fits, can be seen and can be used.
    pub found: Option<Found>,
}

/// An element.
#[derive(Debug, Deserialize)]
pub struct Found {
    x: f64,
    y: f64,
    /// Its value, or its text.
    pub text: String,
}

impl Page {
    pub(super) async fn open(connection: Connection) -> Result<Self, BrowserError> {
        let made = connection.call(None, "Target.createTarget", json!({ "url": "about:blank" })).await?;
        let target = text(&made, "targetId")?;
        let attach = json!({ "targetId": target, "flatten": true });
        let session = text(&connection.call(None, "Target.attachToTarget", attach).await?, "sessionId")?;
        Ok(Self { connection, target, session })
    }

    /// Goes to an address.
    pub async fn go(&self, url: &Url) -> Result<(), BrowserError> {
        let answer = self.call("Page.navigate", json!({ "url": url.as_str() })).await?;
        match answer.get("errorText").and_then(Value::as_str) {
            Some(reason) if !reason.is_empty() => Err(BrowserError::NotOpened(reason.to_owned())),
            _ => Ok(()),
        }
    }

    /// Looks for an element, and scrolls to it.
    pub async fn look(&self, locator: &Locator) -> Result<Look, BrowserError> {
        let value = self.evaluate(LOOK, &json!([locator.css, locator.text])).await?;
        serde_json::from_value(value)
            .map_err(|_| refused("Runtime.evaluate", "the page answered something else"))
    }

    /// Clicks where an element was seen.
    pub async fn click(&self, found: &Found) -> Result<(), BrowserError> {
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let button = if kind == "mouseMoved" { "none" } else { "left" };
            let event =
                json!({ "type": kind, "x": found.x, "y": found.y, "button": button, "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event).await?;
        }
        Ok(())
    }

    /// Replaces what is in the field that was clicked. Says whether the field
    /// then holds the text.
    pub async fn type_into(&self, locator: &Locator, typed: &str) -> Result<bool, BrowserError> {
        let act = |what: &str| json!([locator.css, locator.text, what]);
        if self.evaluate(ACT, &act("select")).await? != json!(true) {
            return Ok(false);
        }
        self.call("Input.insertText", json!({ "text": typed })).await?;
        let held = self.evaluate(ACT, &act("value")).await?;
        // A field that was complete may have sent its form and be gone by now.
        Ok(held.is_null() || held.as_str().is_some_and(|value| value == typed))
    }

    /// Hides an element's text, so that no picture shows it.
    pub async fn hide(&self, locator: &Locator) -> Result<(), BrowserError> {
        self.evaluate(ACT, &json!([locator.css, locator.text, "hide"])).await.map(drop)
    }

    /// A picture of what the tab shows, as PNG, with these elements (CSS) covered.
    pub async fn picture(&self, covered: &[&str]) -> Result<Vec<u8>, BrowserError> {
        self.evaluate(COVER, &json!([covered])).await?;
        let answer = self.call("Page.captureScreenshot", json!({ "format": "png" })).await;
        self.evaluate(COVER, &json!([[]])).await?;
        STANDARD
            .decode(text(&answer?, "data")?)
            .map_err(|error| refused("Page.captureScreenshot", &error.to_string()))
    }

    pub(super) async fn close(self) -> Result<(), BrowserError> {
        self.browser("Target.closeTarget", json!({ "targetId": self.target })).await.map(drop)
    }

    pub(super) async fn browser(
        &self,
        method: &'static str,
        parameters: Value,
    ) -> Result<Value, BrowserError> {
        self.connection.call(None, method, parameters).await
    }

    async fn call(&self, method: &'static str, parameters: Value) -> Result<Value, BrowserError> {
        self.connection.call(Some(&self.session), method, parameters).await
    }

    /// Calls a function in the page. Null while the page is on its way elsewhere.
    async fn evaluate(&self, function: &str, arguments: &Value) -> Result<Value, BrowserError> {
        let expression = format!("({function})(...{arguments})");
        let parameters = json!({ "expression": expression, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", parameters).await?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            let reason = thrown.pointer("/exception/description").and_then(Value::as_str);
            let line = reason.and_then(|text| text.lines().next()).unwrap_or("an exception");
            return Err(refused("Runtime.evaluate", line));
        }
        Ok(answer.pointer("/result/value").cloned().unwrap_or_default())
    }
}

fn text(answer: &Value, name: &str) -> Result<String, BrowserError> {
    match answer.get(name).and_then(Value::as_str) {
        Some(text) => Ok(text.to_owned()),
        None => Err(BrowserError::Gone(format!(": its answer has no {name}"))),
    }
}

fn refused(method: &'static str, reason: &str) -> BrowserError {
    BrowserError::Refused { method, reason: reason.to_owned() }
}
