//! The Chrome DevTools Protocol: commands out, answers back, over a pipe or a
//! WebSocket. Messages carry what is typed, so none is ever logged.
//!
//! Our own and thin on purpose. The crates for this attach to every open tab and
//! enable whole domains in each; in a person's own browser that is an intrusion,
//! and it is what a site's bot check looks for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::BrowserError;

/// A first start on a busy machine takes longer than anything that follows.
const ANSWER: Duration = Duration::from_secs(60);

type Waiting = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>>;

/// The two ends of a transport, in whole messages.
pub struct Messages {
    /// To the browser.
    pub out: mpsc::Sender<String>,
    /// From the browser; closed when it went away.
    pub back: mpsc::Receiver<String>,
}

/// A connection.
pub struct Connection {
    out: mpsc::Sender<String>,
    waiting: Waiting,
    next: AtomicU64,
}

#[derive(Deserialize)]
struct Answer {
    id: Option<u64>,
    #[serde(default)]
    result: Value,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

impl Connection {
    /// Speaks over this transport.
    pub fn new(messages: Messages) -> Self {
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        tokio::spawn(deliver(messages.back, Arc::clone(&waiting)));
        Self { out: messages.out, waiting, next: AtomicU64::new(1) }
    }

    /// One command and its result; `session` names a tab.
    pub async fn call(
        &self,
        session: Option<&str>,
        method: &'static str,
        parameters: Value,
    ) -> Result<Value, BrowserError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        let (answer, awaited) = oneshot::channel();
        let gone = || BrowserError::Gone(String::new());
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .ok_or_else(gone)?
            .insert(id, answer);
        self.out.send(message.to_string()).await.map_err(|_| gone())?;
        let answer = tokio::time::timeout(ANSWER, awaited)
            .await
            .map_err(|_| BrowserError::Silent(method))?
            .map_err(|_| gone())?;
        match answer.error {
            None => Ok(answer.result),
            Some(refusal) => Err(BrowserError::Refused { method, reason: refusal.message }),
        }
    }
}

/// Hands each answer to its caller. Events are not asked for and are dropped.
async fn deliver(mut back: mpsc::Receiver<String>, waiting: Waiting) {
    while let Some(text) = back.recv().await {
        let Ok(answer) = serde_json::from_str::<Answer>(&text) else { continue };
        let Some(id) = answer.id else { continue };
        let caller = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .and_then(|callers| callers.remove(&id));
        if let Some(caller) = caller {
            // A caller that gave up needs no answer.
            let _ = caller.send(answer);
        }
    }
    // Everybody who still waits learns now that nothing will come.
    waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
}
