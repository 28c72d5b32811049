//! A real Chrome, driven over its own protocol: the user's, where `CDP_URL`
//! names it, else one of our own that leaves nothing behind.

mod attach;
mod cdp;
mod error;
#[cfg(unix)]
mod launch;
mod page;

use std::path::Path;

use serde_json::json;

pub use error::BrowserError;
pub use page::{Found, Look, Page};

use cdp::Connection;

/// A browser with one tab of ours in it.
pub struct Browser {
    page: Page,
    #[cfg(unix)]
    launched: Option<launch::Launched>,
}

impl Browser {
    /// Attaches to the user's own browser.
    pub async fn attach(cdp_url: &str) -> Result<Self, BrowserError> {
        let page = Page::open(Connection::new(attach::attach(cdp_url).await?)).await?;
        Ok(Self {
            page,
            #[cfg(unix)]
            launched: None,
        })
    }

    /// Starts one.
    #[cfg(unix)]
    pub async fn launch(program: Option<&Path>, headed: bool) -> Result<Self, BrowserError> {
        let (launched, messages) = launch::launch(program, headed)?;
        match Page::open(Connection::new(messages)).await {
            Ok(page) => Ok(Self { page, launched: Some(launched) }),
            Err(error) => {
                launched.end().await?;
                Err(error)
            }
        }
    }

    /// Starting one is only known on Unix; elsewhere the user's own is attached to.
    #[cfg(not(unix))]
    pub async fn launch(_program: Option<&Path>, _headed: bool) -> Result<Self, BrowserError> {
        Err(BrowserError::NotFound)
    }

    /// The tab.
    pub fn page(&self) -> &Page {
        &self.page
    }

    /// Closes the tab; and the browser too, where it is our own.
    pub async fn close(self) -> Result<(), BrowserError> {
        #[cfg(unix)]
        if let Some(launched) = self.launched {
            // Whether it heard or not, it is made to leave.
            let _ = self.page.browser("Browser.close", json!({})).await;
            return launched.end().await;
        }
        self.page.close().await
    }
}
