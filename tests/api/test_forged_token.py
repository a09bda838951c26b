"""No forged, altered or mistyped access token is accepted (contract section 5, last line)."""
from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes

from harness.checks import assert_problem
from harness.client import SESSIONS, Tokens
from harness.fixtures import ServerFactory
from harness.keys import (
    RsaKey, b64u, join_signed, mint, other_key, read_claims, read_header, segment, signing_key,
    unb64u,
)
from harness.raw import exchange, request
from harness.server import Server

Make = Callable[[str], str]
KEY = signing_key()


@pytest.fixture(scope="module")
def target(make_shared_server: ServerFactory) -> Server:
    return make_shared_server()


@pytest.fixture(scope="module")
def good(target: Server) -> Tokens:
    with target.client() as client:
        return client.new_session()


def _claims(good: str, **changes: Any) -> dict[str, Any]:
    """The claims with changes; a change to `...` takes a claim away."""
    merged = {**read_claims(good), **changes}
    return {name: value for name, value in merged.items() if value is not ...}


def _header(good: str, **changes: Any) -> dict[str, Any]:
    merged = {**read_header(good), **changes}
    return {name: value for name, value in merged.items() if value is not ...}


def header(**changes: Any) -> Make:
    """Signed with the true key, under another header."""
    return lambda good: mint(KEY, _header(good, **changes), read_claims(good))


def claims(**changes: Any) -> Make:
    """Signed with the true key, with other claims."""
    return lambda good: mint(KEY, read_header(good), _claims(good, **changes))


def foreign(**changes: Any) -> Make:
    """Signed with a key of the attacker, whose header tries to bring it along."""
    return lambda good: mint(other_key(), _header(good, **changes), read_claims(good))


def unsigned(signature: str = "", **changes: Any) -> Make:
    def make(good: str) -> str:
        return f"{segment(_header(good, **changes))}.{good.split('.')[1]}.{signature}"

    return make


def hmac_with(secret: Callable[[RsaKey], bytes], alg: str = "HS256") -> Make:
    """The public key used as the secret of an HMAC."""

    def make(good: str) -> str:
        signed = f"{segment(_header(good, alg=alg))}.{good.split('.')[1]}"
        mac = hmac.new(secret(KEY), signed.encode(), hashlib.sha256).digest()
        return f"{signed}.{b64u(mac)}"

    return make


def raw_header(text: str) -> Make:
    """Header JSON as text; KID stands for the true kid."""

    def make(good: str) -> str:
        return mint(KEY, text.replace("KID", read_header(good)["kid"]), read_claims(good))

    return make


def raw_claims(change: Callable[[str], str]) -> Make:
    """Payload JSON changed as text, then signed with the true key."""

    def make(good: str) -> str:
        return mint(KEY, read_header(good), change(unb64u(good.split(".")[1]).decode()))

    return make


def signed_as(alg: str, algorithm: hashes.HashAlgorithm) -> Make:
    def make(good: str) -> str:
        signed = f"{segment(_header(good, alg=alg))}.{good.split('.')[1]}"
        return f"{signed}.{b64u(KEY.sign(signed.encode(), algorithm))}"

    return make


def _pss(good: str) -> str:
    signed = f"{segment(_header(good, alg='PS256'))}.{good.split('.')[1]}"
    return f"{signed}.{b64u(KEY.sign_pss(signed.encode()))}"


def text(change: Callable[[str, str, str], str]) -> Make:
    """The good token changed as text: head, body, signature."""
    return lambda good: change(*good.split("."))


def _spare_bits(part: str) -> str:
    """The same bytes, spelt with a bit set that base64url throws away."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert len(part) % 4, "this segment has no spare bits"
    spelt = part[:-1] + alphabet[alphabet.index(part[-1]) ^ 1]
    assert unb64u(spelt) == unb64u(part) and spelt != part
    return spelt


def _resigned(change: Callable[[str, str], tuple[str, str]]) -> Make:
    """Segments changed as text and then truly signed as they are spelt."""
    return lambda good: join_signed(KEY, *change(*good.split(".")[:2]))


def _padded_header(good: str) -> str:
    """A header whose base64url needs padding, given with it."""
    wide = dict(_header(good))
    for filler in ("", " ", "  "):
        part = segment(json.dumps(wide) + filler)
        if len(part) % 4:
            return join_signed(KEY, part + "=" * (-len(part) % 4), good.split(".")[1])
    raise AssertionError("unreachable")


def _spare_header(good: str) -> str:
    for filler in ("", " ", "  "):
        part = segment(json.dumps(_header(good)) + filler)
        if len(part) % 4:
            return join_signed(KEY, _spare_bits(part), good.split(".")[1])
    raise AssertionError("unreachable")


def _json_form(good: str) -> str:
    head, body, signature = good.split(".")
    return json.dumps({"protected": head, "payload": body, "signature": signature})


def _swap(name: str, value: str) -> Callable[[str], str]:
    """Payload text with one member's value replaced by JSON text."""

    def change(payload: str) -> str:
        whole = json.loads(payload)
        whole[name] = "@@"
        return json.dumps(whole).replace('"@@"', value)

    return change


NOW = int(time.time())
JWK = {**other_key().jwk, "kid": "mine", "use": "sig", "alg": "RS256"}
FORGED: dict[str, Make] = {
    # algorithm
    "alg none": unsigned(alg="none"),
    "alg None": unsigned(alg="None"),
    "alg NONE": unsigned(alg="NONE"),
    "alg nOnE": unsigned(alg="nOnE"),
    "alg none with a blank": unsigned(alg="none "),
    "alg none, true signature": header(alg="none"),
    "alg none, garbage signature": unsigned("AAAA", alg="none"),
    "alg empty": header(alg=""),
    "alg missing": header(alg=...),
    "alg null": header(alg=None),
    "alg a number": header(alg=256),
    "alg a list": header(alg=["RS256"]),
    "alg rs256": header(alg="rs256"),
    "alg RS256 with NUL": header(alg="RS256\x00"),
    "alg RS384 by name": header(alg="RS384"),
    "alg RS384": signed_as("RS384", hashes.SHA384()),
    "alg RS512": signed_as("RS512", hashes.SHA512()),
    "alg RS256, signed with SHA-512": signed_as("RS256", hashes.SHA512()),
    "alg RS256, signed with SHA-1": signed_as("RS256", hashes.SHA1()),
    "alg PS256": _pss,
    "alg ES256": header(alg="ES256"),
    "alg EdDSA": header(alg="EdDSA"),
    "empty signature": text(lambda h, b, s: f"{h}.{b}."),
    "HS256 with the public PEM": hmac_with(lambda key: key.public_pem.encode()),
    "HS256 with the stripped PEM": hmac_with(lambda key: key.public_pem.strip().encode()),
    "HS256 with the DER": hmac_with(lambda key: key.public_der),
    "HS256 with the JWK": hmac_with(lambda key: json.dumps(key.jwk).encode()),
    "HS256 with the modulus": hmac_with(lambda key: unb64u(key.jwk["n"])),
    "HS256 with an empty secret": hmac_with(lambda key: b""),
    "RS256 by name, HMAC in truth": hmac_with(lambda key: key.public_pem.encode(), "RS256"),
    # other headers
    "typ JWT": header(typ="JWT"),
    "typ missing": header(typ=...),
    "typ null": header(typ=None),
    "typ refresh": header(typ="rt+jwt"),
    "typ with a blank": header(typ="at+jwt "),
    "typ a list": header(typ=["at+jwt"]),
    "foreign key, true kid": foreign(),
    "kid missing": header(kid=...),
    "kid empty": header(kid=""),
    "kid null": header(kid=None),
    "kid a number": header(kid=0),
    "kid a list": lambda good: mint(KEY, _header(good, kid=[read_header(good)["kid"]]),
                                    read_claims(good)),
    "kid unknown": header(kid="unknown"),
    "kid with a suffix": lambda good: mint(KEY, _header(good, kid=read_header(good)["kid"] + "x"),
                                           read_claims(good)),
    "kid cut": lambda good: mint(KEY, _header(good, kid=read_header(good)["kid"][:-1]),
                                 read_claims(good)),
    "kid with NUL": lambda good: mint(KEY, _header(good, kid=read_header(good)["kid"] + "\x00"),
                                      read_claims(good)),
    "kid a path": foreign(kid="../../../../dev/null"),
    "kid SQL": foreign(kid="' UNION SELECT 1 --"),
    "kid of 4 KiB": foreign(kid="k" * 4096),
    "jwk embedded": foreign(jwk=JWK, kid="mine"),
    "jwk embedded, true kid": foreign(jwk=JWK),
    "jku": foreign(jku="http://127.0.0.1:1/jwks.json", kid="mine"),
    "x5u": foreign(x5u="http://127.0.0.1:1/cert.pem", kid="mine"),
    "x5c": foreign(x5c=["MIIB"], kid="mine"),
    "crit unknown": header(crit=["exp"], exp=1),
    "crit empty": header(crit=[]),
    "crit not a list": header(crit="exp"),
    "b64 false": header(b64=False, crit=["b64"]),
    "header with alg twice": raw_header('{"alg":"none","alg":"RS256","typ":"at+jwt","kid":"KID"}'),
    "header with kid twice": raw_header('{"alg":"RS256","typ":"at+jwt","kid":"x","kid":"KID"}'),
    "header with trailing text": raw_header('{"alg":"RS256","typ":"at+jwt","kid":"KID"} x'),
    "header not closed": raw_header('{"alg":"RS256","typ":"at+jwt","kid":"KID"'),
    "header a list": raw_header('["RS256","at+jwt","KID"]'),
    "header a string": raw_header('"RS256"'),
    "header empty": raw_header(""),
    "header in UTF-16": lambda good: mint(KEY, json.dumps(_header(good)).encode("utf-16"),
                                          read_claims(good)),
    "header with a BOM": raw_header('\ufeff{"alg":"RS256","typ":"at+jwt","kid":"KID"}'),
    # claims
    "iss wrong": claims(iss="https://evil.example"),
    "iss missing": claims(iss=...),
    "iss a list": lambda good: mint(KEY, read_header(good),
                                    _claims(good, iss=[read_claims(good)["iss"]])),
    "iss with a slash": lambda good: mint(KEY, read_header(good),
                                          _claims(good, iss=read_claims(good)["iss"] + "/")),
    "aud wrong": claims(aud="other"),
    "aud missing": claims(aud=...),
    "aud null": claims(aud=None),
    "aud a list without us": claims(aud=["other"]),
    "aud empty": claims(aud=""),
    "aud a prefix": claims(aud="watchword"),
    "exp in the past": claims(exp=NOW - 120),
    "exp missing": claims(exp=...),
    "exp null": claims(exp=None),
    "exp text": claims(exp=str(NOW + 600)),
    "exp true": claims(exp=True),
    "exp a list": claims(exp=[NOW + 600]),
    "exp negative": claims(exp=-1),
    "exp zero": claims(exp=0),
    "exp 1e400": raw_claims(_swap("exp", "1e400")),
    "exp 2^63": raw_claims(_swap("exp", "9223372036854775808")),
    "exp 2^64 and a bit": raw_claims(_swap("exp", str((1 << 64) + NOW + 600))),
    "exp NaN": raw_claims(_swap("exp", "NaN")),
    "nbf in the future": claims(nbf=NOW + 600),
    "iat in the future": claims(iat=NOW + 600, exp=NOW + 1200),
    "sub missing": claims(sub=...),
    "sub no UUID": claims(sub="admin"),
    "tenant missing": claims(tenant_id=...),
    "tenant a number": claims(tenant_id=7),
    "sid missing": claims(sid=..., session_id=...),
    "payload with exp twice": raw_claims(lambda p: p[:-1] + f',"exp":{NOW + 600}}}'),
    "payload with sub twice": raw_claims(lambda p: p[:-1] + f',"sub":"{"0" * 32}"}}'),
    "payload a list": raw_claims(lambda p: f"[{p}]"),
    "payload with trailing text": raw_claims(lambda p: p + p),
    "payload empty": raw_claims(lambda p: ""),
    "payload nested as text": raw_claims(lambda p: json.dumps(p)),
    "payload not UTF-8": lambda good: mint(KEY, read_header(good), b'{"x":"\xff"}'),
    # encoding
    "another payload under the signature": text(
        lambda h, b, s: f"{h}.{segment({**json.loads(unb64u(b)), 'sub': '0' * 32})}.{s}"),
    "signature altered at the start": text(
        lambda h, b, s: f"{h}.{b}.{'A' if s[0] != 'A' else 'B'}{s[1:]}"),
    "signature altered in the middle": text(
        lambda h, b, s: f"{h}.{b}.{s[:99]}{'A' if s[99] != 'A' else 'B'}{s[100:]}"),
    "signature cut": text(lambda h, b, s: f"{h}.{b}.{s[:-4]}"),
    "signature longer": text(lambda h, b, s: f"{h}.{b}.{s}AAAA"),
    "signature with a leading zero byte": text(
        lambda h, b, s: f"{h}.{b}.{b64u(bytes(1) + unb64u(s))}"),
    "signature of zeros": text(lambda h, b, s: f"{h}.{b}.{b64u(bytes(256))}"),
    "signature with spare bits": text(lambda h, b, s: f"{h}.{b}.{_spare_bits(s)}"),
    "signature with padding": text(lambda h, b, s: f"{h}.{b}.{s}{'=' * (-len(s) % 4)}"),
    "signature in base64": text(
        lambda h, b, s: f"{h}.{b}.{s.replace('-', '+').replace('_', '/')}+"),
    "signature of another token": text(
        lambda h, b, s: f"{h}.{b}.{mint(KEY, {'alg': 'RS256'}, {}).split('.')[2]}"),
    "header with padding, signed so": _padded_header,
    "header with spare bits, signed so": _spare_header,
    "blank in the header, signed so": _resigned(lambda h, b: (h[:8] + " " + h[8:], b)),
    "blank in the payload": text(lambda h, b, s: f"{h}.{b[:9]} {b[9:]}.{s}"),
    "one segment": text(lambda h, b, s: h),
    "two segments": text(lambda h, b, s: f"{h}.{b}"),
    "four segments": text(lambda h, b, s: f"{h}.{b}.{s}.{s}"),
    "five segments": text(lambda h, b, s: f"{h}.{b}.{s}.."),
    "trailing dot": text(lambda h, b, s: f"{h}.{b}.{s}."),
    "leading dot": text(lambda h, b, s: f".{h}.{b}.{s}"),
    "empty segments": lambda good: "..",
    "dots only": lambda good: "." * 1000,
    "header missing": text(lambda h, b, s: f".{b}.{s}"),
    "payload missing": text(lambda h, b, s: f"{h}..{s}"),
    "segments swapped": text(lambda h, b, s: f"{b}.{h}.{s}"),
    "quoted": lambda good: f'"{good}"',
    "JSON serialisation": _json_form,
    "nested JWT": lambda good: mint(KEY, _header(good, cty="JWT"), good),
    "two tokens": lambda good: f"{good},{good}",
    "two tokens with a blank": lambda good: f"{good} {good}",
}


def test_the_corpus_is_large_enough() -> None:
    """At least 60 forgeries."""
    assert len(FORGED) >= 60


def test_what_we_mint_ourselves_is_accepted(target: Server, good: Tokens) -> None:
    """The control: with our copy of the key a token of the right form is good, so that each
    forgery fails for its own reason."""
    with target.client() as client:
        own = [
            mint(KEY, read_header(good.access), read_claims(good.access)),
            mint(KEY, read_header(good.access), _claims(good.access, exp=int(time.time()) + 60)),
            mint(KEY, _header(good.access, cty=...), _claims(good.access, extra={"a": [1]})),
            raw_claims(lambda payload: " " + payload + "\n")(good.access),
        ]
        for token in (good.access, *own):
            assert client.sessions(token).status_code == 200, token


@pytest.mark.parametrize("name", FORGED)
def test_forged_token_is_401(target: Server, good: Tokens, name: str) -> None:
    """Every one of them, with the same words."""
    with target.client() as client:
        response = client.sessions(FORGED[name](good.access))
        problem = assert_problem(response, 401)
        plain = assert_problem(client.sessions("x"), 401)
        assert (problem["error"], problem["message"]) == (plain["error"], plain["message"])


@pytest.mark.parametrize("off,status", [(-20, 200), (-60, 401), (20, 200)])
def test_expiry_has_30_seconds_of_leeway(
    target: Server, good: Tokens, off: int, status: int
) -> None:
    """Accepted up to 30 s after exp, not much longer."""
    with target.client() as client:
        changed = _claims(good.access, exp=int(time.time()) + off)
        token = mint(KEY, read_header(good.access), changed)
        assert client.sessions(token).status_code == status


@pytest.mark.parametrize("size", [4 << 10, 16 << 10, 64 << 10, 1 << 20])
def test_huge_token_is_refused(target: Server, good: Tokens, size: int) -> None:
    """Up to 1 MiB: 401, or 431 when the header section is too large; the service goes on."""
    for token in ("A" * size, f"{good.access}{'A' * size}", f"{'A' * size}.{'A' * 9}.x"):
        sent = request("GET", SESSIONS, headers={"Authorization": f"Bearer {token}"})
        assert exchange(target.port, sent).status in (401, 431, None)
    with target.client() as client:
        assert client.sessions(good.access).status_code == 200


@pytest.mark.parametrize("scheme", ["", "Basic", "Token", "JWT", "Bearer,", "Bearerx", "DPoP"])
def test_other_schemes_are_401(target: Server, good: Tokens, scheme: str) -> None:
    """A good token under another scheme is none."""
    with target.client() as client:
        headers = {"Authorization": f"{scheme} {good.access}".strip()}
        assert_problem(client.get(SESSIONS, headers=headers), 401)


def test_two_authorization_headers_are_refused(target: Server, good: Tokens) -> None:
    """Which one counts must not be a question."""
    sent = request("GET", SESSIONS, headers={"Authorization": f"Bearer {good.access}"})
    double = sent.replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer x\r\n\r\n")
    assert exchange(target.port, sent).status == 200
    assert exchange(target.port, double).status in (400, 401)
