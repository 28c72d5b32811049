//! A wallet's mailbox in S3: waits for one message that came after the start.
//!
//! What lay there before is known by its key and never read, so that no code of
//! an earlier attempt can be taken, whatever any clock says.

mod listing;
mod message;
mod s3;

use std::collections::HashSet;
use std::time::Duration;

use agentkeys_core::Timestamp;
use agentkeys_core::wire::MintAwsResponse;
use tokio::time::Instant;

pub use message::{Unfit, Wanted};
pub use s3::{Bucket, S3Error};

/// Where the operator's receipt rule puts mail, below the wallet's prefix.
const INBOUND: &str = "inbound/";
const PAUSE: Duration = Duration::from_secs(1);
/// A message with a code in it is never this large.
const LARGEST: u64 = 2 << 20;

/// A mailbox, as it was at the start.
pub struct Mailbox {
    bucket: Bucket,
    prefix: String,
    seen: HashSet<String>,
    since: Timestamp,
}

/// Nothing came.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// S3 does not answer.
    #[error(transparent)]
    S3(#[from] S3Error),
    /// Not in time.
    #[error("no message came within {waited} s{}", seen(.unfit))]
    Nothing {
        /// How long it was waited.
        waited: u64,
        /// What came instead.
        unfit: Vec<Unfit>,
    },
}

fn seen(unfit: &[Unfit]) -> String {
    if unfit.is_empty() {
        return "; nothing new is in the mailbox".to_owned();
    }
    let words: Vec<String> = unfit.iter().map(|reason| format!("{reason:?}")).collect();
    format!("; {} new ones were not it: {}", words.len(), words.join(", "))
}

impl Mailbox {
    /// Looks at what is there now.
    pub async fn open(minted: &MintAwsResponse) -> Result<Self, S3Error> {
        let bucket = Bucket::new(minted)?;
        let prefix = format!("{}{INBOUND}", minted.environment.prefix);
        let listing = bucket.list(&prefix).await?;
        let seen = listing.objects.into_iter().map(|object| object.key).collect();
        Ok(Self { bucket, prefix, seen, since: listing.at })
    }

    /// How many messages were there at the start.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Was it empty at the start?
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// S3's clock at the start.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Waits for the newest message that fits, and gives what was sought in it.
    pub async fn wait(
        &mut self,
        wanted: Wanted<'_>,
        patience: Duration,
        progress: impl Fn(u64),
    ) -> Result<String, MailError> {
        let started = Instant::now();
        let mut unfit = Vec::new();
        let mut said = 0;
        loop {
            let mut fresh: Vec<_> = self.bucket.list(&self.prefix).await?.objects;
            fresh.retain(|object| !self.seen.contains(&object.key));
            fresh.sort_by_key(|object| std::cmp::Reverse(object.modified));
            for object in fresh {
                self.seen.insert(object.key.clone());
                if object.size > LARGEST {
                    unfit.push(Unfit::Unreadable);
                    continue;
                }
                match message::take(&self.bucket.read(&object.key).await?, wanted) {
                    Ok(found) => return Ok(found),
                    Err(reason) => unfit.push(reason),
                }
            }
            let waited = started.elapsed();
            if waited + PAUSE > patience {
                return Err(MailError::Nothing { waited: waited.as_secs(), unfit });
            }
            if waited.as_secs() >= said + 10 {
                said = waited.as_secs();
                progress(said);
            }
            // S3 tells nobody when an object comes; asking again is the only way.
            tokio::time::sleep(PAUSE).await;
        }
    }
}
