"""Inbound mail as SES leaves it: raw MIME objects under `bots/<wallet>/inbound/`.

The receiving server's own verdicts stand on top of what the sender wrote, as
SES puts them there.
"""
from __future__ import annotations

import secrets
import time
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime
from datetime import datetime, timezone
from typing import Any, Optional

SENDER = "noreply@openrouter.ai"


def object_key(wallet: str) -> str:
    return f"bots/{wallet}/inbound/{secrets.token_hex(20)}"


def verdicts(domain: str, genuine: bool = True) -> bytes:
    word = "pass" if genuine else "fail"
    lines = [
        f"Return-Path: <bounce@{domain}>",
        "Received: from mail.example (192.0.2.7) by inbound-smtp.us-east-1.amazonaws.com",
        "X-SES-Spam-Verdict: PASS",
        "X-SES-Virus-Verdict: PASS",
        f"Received-SPF: {word} (spfCheck: domain of {domain}) client-ip=192.0.2.7;",
        "Authentication-Results: amazonses.com;",
        f" spf={word} (spfCheck: domain of {domain}) client-ip=192.0.2.7; envelope-from=bounce@{domain};",
        f" dkim={word} header.i=@{domain};",
        f" dmarc={word} header.from={domain};",
        "X-SES-RECEIPT: AEFBQUFB",
    ]
    return "\r\n".join(lines).encode() + b"\r\n"


def code_message(
    code: str,
    to: str,
    sender: str = SENDER,
    subject: str = "Your OpenRouter verification code ✓",
    sent_at: Optional[float] = None,
) -> bytes:
    """Multipart, quoted-printable, with soft line breaks: what a parser of raw text trips over."""
    message = EmailMessage(policy=policy.SMTP.clone(max_line_length=76))
    message["From"] = f"OpenRouter <{sender}>"
    message["To"] = f"New User <{to}>"
    message["Subject"] = subject
    message["Date"] = format_datetime(datetime.fromtimestamp(sent_at or time.time(), timezone.utc))
    message["Message-ID"] = f"<{secrets.token_hex(8)}@{sender.split('@')[1]}>"
    text = f"Willkommen – your code, which ends in ten minutes and is for nobody else’s eyes, → {code} ←\n"
    message.set_content(text, charset="utf-8", cte="quoted-printable")
    html = f'<html><body style="color:#202124"><p>Your code is <b>{code}</b></p></body></html>'
    message.add_alternative(html, subtype="html", charset="utf-8", cte="quoted-printable")
    return message.as_bytes()


def link_message(link: str, to: str) -> bytes:
    """The link is longer than a line, so that the encoding breaks it."""
    message = EmailMessage(policy=policy.SMTP.clone(max_line_length=76))
    message["From"] = f"OpenRouter <{SENDER}>"
    message["To"] = to
    message["Subject"] = "Please confirm your address"
    message["Date"] = format_datetime(datetime.now(timezone.utc))
    text = f"Dear new user, so that we know that this address is really yours, please open {link} in your browser.\n"
    message.set_content(text, charset="utf-8", cte="quoted-printable")
    return message.as_bytes()


class Inbound:
    """Puts messages into the bucket as the operator's receipt rule does."""

    def __init__(self, s3: Any, bucket: str) -> None:
        self.s3 = s3
        self.bucket = bucket

    def deliver(self, wallet: str, raw: bytes, domain: str = "openrouter.ai", genuine: bool = True) -> str:
        key = object_key(wallet)
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=verdicts(domain, genuine) + raw)
        return key

    def fill(self, wallet: str, number: int) -> None:
        """Old small messages, so that a listing has more than one page."""
        for n in range(number):
            raw = f"From: list@example.com\r\nTo: {wallet}@bots.example.dev\r\nSubject: number {n}\r\n\r\n{n}\r\n"
            self.s3.put_object(Bucket=self.bucket, Key=object_key(wallet), Body=raw.encode())
