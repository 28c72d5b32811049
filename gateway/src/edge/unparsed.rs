//! The answer to a head that is not HTTP.
//!
//! Pingora refuses such a head before any hook runs, with a bare 400 that has no
//! request id and no problem document. What it writes while no head has been
//! parsed can only be that answer, so [`super::watched`] puts this one in its place.

use agentkeys_core::{MintId, Problem};
use pingora::protocols::http::date::get_cached_date;

use super::respond;

/// One whole HTTP/1.1 answer that is being written, and its request id.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) request_id: String,
    bytes: Vec<u8>,
    written: usize,
}

impl Refusal {
    pub(super) fn new(tls: bool) -> Self {
        let request_id = MintId::generate().to_string();
        let problem = Problem::bad_request("The request head is not HTTP/1.1.");
        let mut response = respond::problem_response(&problem, &request_id);
        respond::identify(&mut response, &request_id, tls);
        let status = response.status;
        let mut bytes = format!(
            "HTTP/1.1 {} {}\r\ndate: {}\r\ncontent-length: {}\r\nconnection: close\r\n",
            status.as_u16(),
            status.canonical_reason().unwrap_or_default(),
            get_cached_date().to_str().unwrap_or_default(),
            response.body.len(),
        )
        .into_bytes();
        for (name, value) in &response.headers {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&response.body);
        Self { request_id, bytes, written: 0 }
    }

    /// What is still to be written.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    pub(super) fn wrote(&mut self, count: usize) {
        self.written += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_answer_with_an_id_and_a_problem() {
        let mut refusal = Refusal::new(true);
        let text = String::from_utf8(refusal.rest().to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 400 Bad Request\r\n") && head.contains("strict-transport-security")
        );
        assert!(head.contains(&format!("x-request-id: {}", refusal.request_id)));
        assert!(head.contains(&format!("content-length: {}", body.len())));
        let document: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(document["code"], "bad_request");
        assert_eq!(document["request_id"], refusal.request_id);
        refusal.wrote(head.len());
        assert!(refusal.rest().starts_with(b"\r\n\r\n{"));
        refusal.wrote(text.len());
        assert!(refusal.rest().is_empty());
    }
}
