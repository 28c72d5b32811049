//! A line on the terminal while something takes long, gone when it is done.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_millis(400);

/// Awaits `work`; says what it waits for where a person would begin to wonder.
pub async fn during<T>(what: &str, work: impl Future<Output = T>) -> T {
    if !io::stderr().is_terminal() {
        return work.await;
    }
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(PATIENCE) => {}
    }
    // A terminal that is gone shows no progress; the work goes on.
    let _ = write!(io::stderr(), "{what}…");
    let done = work.await;
    let _ = write!(io::stderr(), "\r\u{1b}[K");
    done
}
