"""Sign-in with Ethereum (EIP-4361), with other people's libraries on the wallet's side.

eth-account signs and npm's siwe reads and writes the message; neither knows anything
of the broker. What they make is accepted; whatever differs from it is refused.
"""
from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Callable

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct

from brokerlib import Broker
from expect import TOKEN, instant, refused
from http_client import Answer

NODE_MODULES = Path(__file__).resolve().parents[2] / ".tools" / "node"
# The order of secp256k1: s and ORDER - s sign the same.
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

# Takes the message apart, makes it anew from its parts, and signs that.
SIWE = """
import { SiweMessage } from 'siwe';
import { Wallet } from 'ethers';
let text = '';
for await (const chunk of process.stdin) text += chunk;
const { message, key } = JSON.parse(text);
const read = new SiweMessage(message);
const { domain, address, statement, uri, version, chainId, nonce, issuedAt, expirationTime } = read;
const made = new SiweMessage(
  { domain, address, statement, uri, version, chainId, nonce, issuedAt, expirationTime }).prepareMessage();
const signature = await new Wallet(key).signMessage(made);
const verdict = await new SiweMessage(made).verify({ signature, domain, nonce });
console.log(JSON.stringify({ made, signature, success: verdict.success, domain, address, uri, version, chainId,
  nonce, issuedAt, expirationTime }));
"""


@pytest.fixture
def broker(shared_broker, sts) -> Broker:
    return shared_broker


@pytest.fixture
def wallet():
    return Account.create()


def challenge(broker: Broker, wallet) -> str:
    answer = broker.post("/v1/sessions/challenge", {"wallet": wallet.address})
    assert answer.status == 200, answer
    return answer.json()["message"]


def signed(message: str, wallet) -> str:
    return "0x" + wallet.sign_message(encode_defunct(text=message)).signature.hex().removeprefix("0x")


def sign_in(broker: Broker, message: str, signature: str) -> Answer:
    return broker.post("/v1/sessions", {"message": message, "signature": signature})


def accepted(broker: Broker, answer: Answer, wallet) -> None:
    assert answer.status == 201, answer
    session = answer.json()
    assert TOKEN.fullmatch(session["token"]) and session["wallet"] == wallet.address.lower()
    assert broker.get("/v1/session", token=session["token"]).json()["kind"] == "master"


def turned_away(answer: Answer, status: int, code: str) -> None:
    refused(answer, status, code)
    assert not TOKEN.search(answer.text)


# Accepted


def test_what_eth_account_signs_is_accepted(broker, wallet):
    message = challenge(broker, wallet)
    assert f"\n{wallet.address}\n" in message, "spelt with its checksum"
    accepted(broker, sign_in(broker, message, signed(message, wallet)), wallet)


def test_the_other_spelling_of_v_is_the_same_signature(broker, wallet):
    message = challenge(broker, wallet)
    signature = signed(message, wallet)
    accepted(broker, sign_in(broker, message, signature[:-2] + f"{int(signature[-2:], 16) - 27:02x}"), wallet)


def test_what_npms_siwe_makes_and_ethers_signs_is_accepted(broker, wallet):
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not (NODE_MODULES / "node_modules" / "siwe").exists():
        pytest.skip("npm's siwe is missing: scripts/bootstrap said why")
    message = challenge(broker, wallet)
    done = subprocess.run(
        ["node", "--input-type=module", "-e", SIWE],
        cwd=NODE_MODULES,
        input=json.dumps({"message": message, "key": "0x" + bytes(wallet.key).hex()}),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert read["made"] == message, "to the byte what EIP-4361 says it is"
    assert read["success"] is True
    assert (read["domain"], read["uri"]) == (broker.url.split("://")[1], broker.url)
    assert (read["address"], read["version"], read["chainId"]) == (wallet.address, "1", 1)
    assert re.fullmatch(r"[0-9A-Za-z]{8,}", read["nonce"])
    assert 0 < instant(read["expirationTime"]) - instant(read["issuedAt"]) <= 600
    accepted(broker, sign_in(broker, read["made"], read["signature"]), wallet)


# Altered: each signed by the right key, as a wallet that somebody else has asked would


def field(name: str, change: Callable[[str], str]) -> Callable[[str], str]:
    def alter(message: str) -> str:
        return re.sub(rf"(?m)^{name}: (.*)$", lambda found: f"{name}: {change(found.group(1))}", message)

    return alter


def other_digit(text: str) -> str:
    """The same length and alphabet, one character apart."""
    last = "1" if text[-1] != "1" else "2"
    return text[:-1] + last


def line(number: int, change: Callable[[str], str]) -> Callable[[str], str]:
    def alter(message: str) -> str:
        lines = message.split("\n")
        lines[number] = change(lines[number])
        return "\n".join(lines)

    return alter


ALTERED = {
    "domain": line(0, lambda text: text.replace("127.0.0.1", "exchange.example")),
    "domain's port": line(0, lambda text: re.sub(r":\d+ ", ":1 ", text)),
    "a scheme before the domain": line(0, lambda text: "http://" + text),
    "address": line(1, lambda _: Account.create().address),
    "address's spelling": line(1, str.lower),
    "statement": line(3, lambda _: "Move everything."),
    "no statement": lambda message: message.replace("\n\n" + message.split("\n")[3] + "\n\n", "\n\n\n"),
    "uri": field("URI", lambda uri: uri + "/"),
    "uri's host": field("URI", lambda uri: uri.replace("127.0.0.1", "localhost")),
    "version": field("Version", lambda _: "2"),
    "chain id": field("Chain ID", lambda _: "137"),
    "nonce": field("Nonce", other_digit),
    "a longer nonce": field("Nonce", lambda nonce: nonce + "0"),
    "issued at": field("Issued At", lambda at: re.sub(r"^\d{4}", "2020", at)),
    "issued at's spelling": field("Issued At", lambda at: at.replace("Z", "+00:00")),
    "expiration": field("Expiration Time", lambda at: re.sub(r"^\d{4}", "2099", at)),
    "no expiration": lambda message: re.sub(r"\nExpiration Time: .*", "", message),
    "not before": lambda message: message + "\nNot Before: 2020-01-01T00:00:00Z",
    "request id": lambda message: message + "\nRequest ID: 1",
    "resources": lambda message: message + "\nResources:\n- https://exchange.example/everything",
    "a line end": lambda message: message + "\n",
    "carriage returns": lambda message: message.replace("\n", "\r\n"),
    "two nonces": lambda message: re.sub(r"(\nNonce: .*)", r"\1\1", message),
}


@pytest.mark.parametrize("what", ALTERED)
def test_an_altered_message_is_refused(broker, wallet, what):
    message = challenge(broker, wallet)
    altered = ALTERED[what](message)
    assert altered != message
    turned_away(sign_in(broker, altered, signed(altered, wallet)), 400, "bad_request")
    # And what was altered did not use up what was not.
    accepted(broker, sign_in(broker, message, signed(message, wallet)), wallet)


def test_a_nonce_counts_once(broker, wallet):
    message = challenge(broker, wallet)
    signature = signed(message, wallet)
    accepted(broker, sign_in(broker, message, signature), wallet)
    turned_away(sign_in(broker, message, signature), 400, "bad_request")
    # Nor for another signature over the same message.
    turned_away(sign_in(broker, message, signed(message, wallet)), 400, "bad_request")


def test_the_challenge_of_another_broker_is_none(broker, role_broker, wallet):
    message = challenge(role_broker(), wallet)
    turned_away(sign_in(broker, message, signed(message, wallet)), 400, "bad_request")


def test_a_made_up_challenge_is_none(broker, wallet):
    message = field("Nonce", lambda nonce: "0" * len(nonce))(challenge(broker, wallet))
    turned_away(sign_in(broker, message, signed(message, wallet)), 400, "bad_request")


# Signatures


def test_anothers_signature_is_refused(broker, wallet):
    message = challenge(broker, wallet)
    turned_away(sign_in(broker, message, signed(message, Account.create())), 403, "forbidden")
    turned_away(sign_in(broker, message, signed(challenge(broker, wallet), wallet)), 403, "forbidden")


def test_a_malleated_signature_is_refused(broker, wallet):
    """(r, n - s) with the other v recovers the same key; accepting it would make two texts of one signature."""
    message = challenge(broker, wallet)
    raw = bytes.fromhex(signed(message, wallet)[2:])
    s = ORDER - int.from_bytes(raw[32:64], "big")
    high = raw[:32] + s.to_bytes(32, "big") + bytes([27 + 28 - raw[64]])
    assert Account.recover_message(encode_defunct(text=message), signature=high) == wallet.address
    turned_away(sign_in(broker, message, "0x" + high.hex()), 403, "forbidden")
    accepted(broker, sign_in(broker, message, "0x" + raw.hex()), wallet)


def test_a_signature_that_is_none_is_refused(broker, wallet):
    message = challenge(broker, wallet)
    good = signed(message, wallet)
    for malformed in ("", "0x", good[2:], good[:-2], good + "00", good[:-2] + "1d", "0x" + "zz" * 65):
        turned_away(sign_in(broker, message, malformed), 400, "bad_request")
    for forged in ("0x" + "00" * 64 + "1b", "0x" + "ff" * 64 + "1b", good[:66] + "00" * 32 + good[-2:]):
        turned_away(sign_in(broker, message, forged), 403, "forbidden")
    accepted(broker, sign_in(broker, message, good), wallet)
