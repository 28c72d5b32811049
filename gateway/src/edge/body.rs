//! Reads a request body, bounded in bytes and in time.

use std::time::Duration;

use agentkeys_core::{Code, Problem};
use agentkeys_filters::BodySource;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header;
use pingora_proxy::Session;
use tokio::time::timeout;

/// How long an answer waits for a body that nobody asked for.
const DRAIN: Duration = Duration::from_secs(1);

/// The body of one request.
pub(super) struct RequestBody<'a> {
    pub(super) session: &'a mut Session,
    pub(super) cap: usize,
    pub(super) deadline: Duration,
}

#[async_trait]
impl BodySource for RequestBody<'_> {
    async fn read(&mut self) -> Result<Bytes, Problem> {
        if declared_length(self.session)?.is_some_and(|length| length > self.cap as u64) {
            return Err(too_large(self.cap));
        }
        let (session, cap) = (&mut *self.session, self.cap);
        match timeout(self.deadline, read_whole(session, cap)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(Problem::new(
                Code::RequestTimeout,
                format!("The body did not arrive within {} s.", self.deadline.as_secs()),
            )),
        }
    }
}

async fn read_whole(session: &mut Session, cap: usize) -> Result<Bytes, Problem> {
    // Pingora does not answer the expectation of a body it does not proxy, and
    // curl waits a second for it.
    if expects_continue(session) {
        session.write_continue_response().await.map_err(broken)?;
    }
    let mut whole = BytesMut::new();
    while let Some(chunk) = session.read_request_body().await.map_err(broken)? {
        if whole.len() + chunk.len() > cap {
            return Err(too_large(cap));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

/// Takes in a body that nobody read, before the answer: so a kept-alive
/// connection survives an early refusal. Gives up on more than `cap` bytes or a
/// second, and on a client that waits to be told to send.
pub(super) async fn discard(session: &mut Session, cap: usize) {
    if session.is_body_done() || expects_continue(session) {
        return;
    }
    let drained = async {
        let mut read = 0;
        while read <= cap {
            match session.read_request_body().await {
                Ok(Some(chunk)) => read += chunk.len(),
                Ok(None) | Err(_) => return,
            }
        }
    };
    // Out of time is an outcome like any other here: `linger` takes over.
    let _in_time = timeout(DRAIN, drained).await;
}

/// After an answer to a request whose body is still arriving: reads on for a
/// bounded time. Closing at once would reset the connection, and the client
/// would often lose the answer.
pub(super) async fn linger(session: &mut Session) {
    if session.is_body_done() {
        return;
    }
    session.set_total_drain_timeout(Some(DRAIN));
    if let Err(error) = session.drain_request_body().await {
        tracing::debug!(kind = ?error.etype(), "the rest of a refused body was not drained");
    }
}

fn expects_continue(session: &Session) -> bool {
    session
        .get_header(header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn declared_length(session: &Session) -> Result<Option<u64>, Problem> {
    let Some(value) = session.get_header(header::CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| Problem::bad_request("Content-Length is not a number."))
}

fn too_large(cap: usize) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("A request body is at most {cap} bytes."))
}

/// The text of a Pingora error can quote the request; its type cannot.
#[allow(clippy::boxed_local, reason = "Pingora's errors come boxed")]
fn broken(error: Box<pingora::Error>) -> Problem {
    Problem::bad_request("The body could not be read.").because(error.etype().as_str())
}
