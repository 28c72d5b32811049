use super::*;

const ME: &str = "0xabc@bots.example.dev";
const PASS: &str = "X-SES-Spam-Verdict: PASS\r\nX-SES-Virus-Verdict: PASS\r\n\
Authentication-Results: amazonses.com;\r\n spf=pass (x) client-ip=192.0.2.1;\r\n \
dkim=pass header.i=@openrouter.ai;\r\n dmarc=pass header.from=openrouter.ai;\r\n";

fn pattern(text: &str) -> Pattern {
    text.to_owned().try_into().unwrap()
}

fn taken(top: &str, headers: &str, body: &str) -> Result<String, Unfit> {
    let raw = format!("{top}{headers}\r\n{body}");
    let subject = pattern("(?i)openrouter");
    let find = pattern(r"\b(\d{6})\b");
    let since = Timestamp::parse("2026-05-01T10:00:00Z").unwrap();
    let wanted = Wanted {
        to: ME,
        from: "noreply@openrouter.ai",
        subject: &subject,
        find: &find,
        authenticated: true,
        since,
    };
    take(raw.as_bytes(), wanted)
}

fn headers(from: &str, to: &str, subject: &str, date: &str) -> String {
    format!("From: {from}\r\nTo: {to}\r\nSubject: {subject}\r\nDate: {date}\r\n")
}

const DATE: &str = "Fri, 1 May 2026 10:00:30 +0000";
const FROM: &str = "OpenRouter <noreply@openrouter.ai>";

#[test]
fn a_code_is_found_through_multipart_quoted_printable_and_an_encoded_subject() {
    let subject = "=?utf-8?B?T3BlblJvdXRlcjog4pyTIGNvZGU=?=";
    let head = headers(FROM, &format!("You <{}>", ME.to_uppercase()), subject, DATE)
        + "MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n";
    let body = "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\
Content-Transfer-Encoding: quoted-printable\r\n\r\nYour code =E2=86=92 12=\r\n3456\r\n--b\r\n\
Content-Type: text/html\r\n\r\n<p style=3D\"color:#654321\">x</p>\r\n--b--\r\n";
    assert_eq!(taken(PASS, &head, body).unwrap(), "123456");
}

#[test]
fn another_address_sender_subject_or_time_is_not_it() {
    let with = |from: &str, to: &str, subject: &str, date: &str| {
        taken(PASS, &headers(from, to, subject, date), "code 123456")
    };
    assert_eq!(with(FROM, ME, "OpenRouter", DATE).unwrap(), "123456");
    assert_eq!(with(FROM, "1xabc@bots.example.dev", "OpenRouter", DATE), Err(Unfit::OtherAddress));
    let lookalike = "\"noreply@openrouter.ai\" <noreply@0penrouter.example>";
    assert_eq!(with(lookalike, ME, "OpenRouter", DATE), Err(Unfit::OtherSender));
    assert_eq!(with(FROM, ME, "Newsletter", DATE), Err(Unfit::OtherSubject));
    assert_eq!(with(FROM, ME, "OpenRouter", "Thu, 30 Apr 2026 10:00:00 +0000"), Err(Unfit::Old));
    assert_eq!(taken(PASS, &headers(FROM, ME, "OpenRouter", DATE), "hi"), Err(Unfit::NothingFound));
}

#[test]
fn a_forged_sender_is_not_believed() {
    let head = headers(FROM, ME, "OpenRouter", DATE);
    let forged = |top: &str| taken(top, &head, "code 666666");
    assert_eq!(forged(""), Err(Unfit::NotGenuine));
    assert_eq!(forged(&PASS.replace("=pass ", "=fail ")), Err(Unfit::NotGenuine));
    assert_eq!(
        forged(&PASS.replace("=openrouter.ai", "=evil.example").replace("@openrouter.ai", "@evil.example")),
        Err(Unfit::NotGenuine)
    );
    assert_eq!(forged(&PASS.replacen("PASS", "FAIL", 1)), Err(Unfit::NotGenuine), "spam");
    assert_eq!(forged(&PASS.replace("amazonses.com", "mx.evil.example")), Err(Unfit::NotGenuine));
    // The sender's own verdict stands below the receiving server's.
    let both = format!("{}{PASS}", PASS.replace("=pass ", "=fail "));
    assert_eq!(forged(&both), Err(Unfit::NotGenuine));
    // A domain that merely ends or begins like it.
    let longer = PASS.replace("openrouter.ai;", "openrouter.ai.evil.example;");
    assert_eq!(forged(&longer), Err(Unfit::NotGenuine));
}
