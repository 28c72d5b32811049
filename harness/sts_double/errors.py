"""STS's errors: a code, the HTTP status it comes with, and the query-protocol XML."""
from __future__ import annotations

from xml.sax.saxutils import escape

NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"

STATUS = {
    "InvalidIdentityToken": 400,
    "IDPCommunicationError": 400,
    "ExpiredTokenException": 400,
    # A signed call with a credential that has ended; the one above is of a JWT.
    "ExpiredToken": 403,
    "IDPRejectedClaim": 403,
    "MalformedPolicyDocument": 400,
    "PackedPolicyTooLarge": 400,
    "RegionDisabledException": 403,
    "AccessDenied": 403,
    "ValidationError": 400,
    "Throttling": 400,
    "InvalidAction": 400,
    "MissingAuthenticationToken": 403,
    "IncompleteSignature": 400,
    "InvalidClientTokenId": 403,
    "SignatureDoesNotMatch": 403,
    "InternalFailure": 500,
    "ServiceUnavailable": 503,
}


class StsError(Exception):
    """A refusal, as the caller will see it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        return STATUS[self.code]

    def xml(self, request_id: str) -> str:
        kind = "Receiver" if self.status >= 500 else "Sender"
        return (
            f'<ErrorResponse xmlns="{NAMESPACE}">\n'
            f"  <Error>\n    <Type>{kind}</Type>\n    <Code>{self.code}</Code>\n"
            f"    <Message>{escape(self.message)}</Message>\n  </Error>\n"
            f"  <RequestId>{request_id}</RequestId>\n</ErrorResponse>\n"
        )


def validation(message: str) -> StsError:
    return StsError("ValidationError", message)
