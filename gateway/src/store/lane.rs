//! One connection that callers take in turn, off the async threads, in bounded
//! time. A lane opens its file again after a failure, or when the file at its
//! path is no longer the one it holds.

use std::sync::Arc;
use std::time::Duration;

use agentkeys_core::store::StoreError;
use rusqlite::Connection;
use tokio::sync::Mutex;

use super::sqlite::{OpenError, Opened, is_busy, is_duplicate};

/// How long a statement waits for another process's lock.
pub(super) const BUSY: Duration = Duration::from_secs(1);

/// How long a caller waits for its turn and its answer together.
const LIMIT: Duration = Duration::from_secs(3);

type Opener = Arc<dyn Fn() -> Result<Opened, OpenError> + Send + Sync>;

pub(super) struct Lane {
    connection: Arc<Mutex<Option<Opened>>>,
    opener: Opener,
}

/// Why the work of one turn failed.
pub(super) enum Fault {
    /// The database did.
    Sqlite(rusqlite::Error),
    /// The work itself refused.
    Refused(StoreError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Lane {
    /// A lane over the file that `opener` opens, opened now.
    pub fn open(
        opener: impl Fn() -> Result<Opened, OpenError> + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        let first = opener()?;
        Ok(Self { connection: Arc::new(Mutex::new(Some(first))), opener: Arc::new(opener) })
    }

    /// Runs `work` on the connection. Whoever waits for a turn holds no thread,
    /// so a stuck file costs one thread and not the whole pool.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = async {
            let mut held = Arc::clone(&self.connection).lock_owned().await;
            let opener = Arc::clone(&self.opener);
            tokio::task::spawn_blocking(move || turn(&mut held, &opener, work))
                .await
                .map_err(|error| StoreError::Unavailable(error.to_string()))?
        };
        tokio::time::timeout(LIMIT, turn)
            .await
            .unwrap_or_else(|_| Err(StoreError::Unavailable("no answer within its time".into())))
    }
}

fn turn<T>(
    held: &mut Option<Opened>,
    opener: &Opener,
    work: impl FnOnce(&mut Connection) -> Result<T, Fault>,
) -> Result<T, StoreError> {
    let mut opened = match held.take().filter(Opened::is_current) {
        Some(opened) => opened,
        None => opener().map_err(|error| StoreError::Unavailable(error.to_string()))?,
    };
    match work(&mut opened.connection) {
        Ok(value) => {
            *held = Some(opened);
            Ok(value)
        }
        Err(Fault::Refused(error)) => {
            *held = Some(opened);
            Err(error)
        }
        Err(Fault::Sqlite(error)) => {
            // Anything worse than a lock may have left the connection unusable.
            if is_busy(&error) || is_duplicate(&error) {
                *held = Some(opened);
            }
            Err(StoreError::Unavailable(error.to_string()))
        }
    }
}
