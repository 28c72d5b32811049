//! One message as SES leaves it: is it ours, is it genuine, and what does it say?

use agentkeys_core::Timestamp;
use mail_parser::{Address, Message, MessageParser};
use regex::Regex;

use crate::provision::recipe::Pattern;

/// Which message is meant.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The address it is sent to.
    pub to: &'a str,
    /// The sender's address.
    pub from: &'a str,
    /// What its subject contains.
    pub subject: &'a Pattern,
    /// What to take from it.
    pub find: &'a Pattern,
    /// Must the receiving server have found the sender genuine?
    pub authenticated: bool,
    /// Written before this, it belongs to an earlier attempt.
    pub since: Timestamp,
}

/// Why a message is not the one; said in the progress, so that a person can see
/// what a recipe has wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It cannot be read.
    Unreadable,
    /// It is to another address.
    OtherAddress,
    /// It is from somebody else.
    OtherSender,
    /// It is about something else.
    OtherSubject,
    /// It was written before the sign-up began.
    Old,
    /// The receiving server does not vouch for the sender.
    NotGenuine,
    /// What is sought is not in it.
    NothingFound,
}

/// A clock that is a little off is no reason to miss a message.
const CLOCK_SLACK: u64 = 300;

/// What is sought in a message, or why it is not this one.
pub fn take(raw: &[u8], wanted: Wanted<'_>) -> Result<String, Unfit> {
    let message = MessageParser::default().parse(raw).ok_or(Unfit::Unreadable)?;
    if !is_for(&message, wanted.to) {
        return Err(Unfit::OtherAddress);
    }
    let from = message.from().and_then(Address::first).and_then(|address| address.address());
    if !from.is_some_and(|from| from.eq_ignore_ascii_case(wanted.from)) {
        return Err(Unfit::OtherSender);
    }
    if !wanted.subject.is_in(message.subject().unwrap_or_default()) {
        return Err(Unfit::OtherSubject);
    }
    let written = message.date().map(|date| Timestamp::from_unix(date.to_timestamp()));
    if written.is_some_and(|written| written.plus(CLOCK_SLACK) < wanted.since) {
        return Err(Unfit::Old);
    }
    if wanted.authenticated && !is_genuine(&message, wanted.from) {
        return Err(Unfit::NotGenuine);
    }
    // The text as its sender meant it; the HTML for senders who write no other.
    let bodies = (0..message.text_body_count())
        .filter_map(|n| message.body_text(n))
        .chain((0..message.html_body_count()).filter_map(|n| message.body_html(n)));
    bodies.filter_map(|body| wanted.find.find(&body).map(str::to_owned)).next().ok_or(Unfit::NothingFound)
}

fn is_for(message: &Message<'_>, address: &str) -> bool {
    let listed = |list: Option<&Address<'_>>| {
        list.is_some_and(|list| {
            list.iter().any(|one| one.address().is_some_and(|one| one.eq_ignore_ascii_case(address)))
        })
    };
    listed(message.to()) || listed(message.cc())
}

/// The verdicts that SES writes on top of a message. A sender can write such
/// headers too, but only below; so the first one counts.
fn is_genuine(message: &Message<'_>, from: &str) -> bool {
    let first = |name: &str| {
        message
            .headers_raw()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    };
    let clean = |name: &str| first(name).is_none_or(|verdict| verdict.eq_ignore_ascii_case("PASS"));
    let results = first("Authentication-Results").unwrap_or_default();
    let (server, results) = results.split_once(';').unwrap_or_default();
    let domain = from.rsplit('@').next().unwrap_or_default();
    server.trim().eq_ignore_ascii_case("amazonses.com")
        && clean("X-SES-Spam-Verdict")
        && clean("X-SES-Virus-Verdict")
        && vouched(results, domain)
}

/// `dmarc=pass` for the domain, or a passing DKIM signature of the domain.
fn vouched(results: &str, domain: &str) -> bool {
    let domain = regex::escape(domain);
    let pattern = format!(
        r"(?i)(?:^|;)\s*(?:dmarc=pass\s[^;]*header\.from={domain}|dkim=pass\s[^;]*header\.[id]=@?{domain})(?:[\s;]|$)"
    );
    Regex::new(&pattern).is_ok_and(|pattern| pattern.is_match(results))
}

#[cfg(test)]
mod tests;
