"""Verifiers of access tokens as they are in the wild, on a clock that the test moves.

A verifier caches the JWKS for ten minutes, fetches it anew when it meets an unknown kid, but not
within 30 seconds of its last fetch (the defaults of widespread libraries), and what it fetches may
have been in an HTTP cache for the max-age that the answer allows.
"""
from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

CACHE = 600
COOLDOWN = 30

PublicKeys = dict[str, rsa.RSAPublicKey]


def _number(text: str) -> int:
    return int.from_bytes(_bytes(text), "big")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def kid_of(token: str) -> str:
    return json.loads(_bytes(token.split(".")[0]))["kid"]


def public_keys(jwks: dict[str, Any]) -> PublicKeys:
    return {key["kid"]: rsa.RSAPublicNumbers(_number(key["e"]), _number(key["n"])).public_key()
            for key in jwks["keys"]}


def signature_ok(token: str, key: rsa.RSAPublicKey) -> bool:
    signed, _, signature = token.rpartition(".")
    try:
        key.verify(_bytes(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


@dataclass
class HttpCache:
    """Keeps an answer for as long as it allows; max_age 0: keeps nothing."""

    client: httpx.Client
    keeps: bool
    _answer: PublicKeys = field(default_factory=dict)
    _until: float = float("-inf")

    def get(self, now: float) -> PublicKeys:
        if now >= self._until:
            answer = self.client.get("/.well-known/jwks.json")
            assert answer.status_code == 200
            age = re.search(r"max-age=(\d+)", answer.headers["cache-control"])
            assert age is not None
            self._answer = public_keys(answer.json())
            self._until = now + int(age[1]) if self.keeps else now
        return self._answer


@dataclass
class Verifier:
    """Counts what it could not verify."""

    fetch: Callable[[float], PublicKeys]
    verified: int = 0
    failures: list[str] = field(default_factory=list)
    _keys: PublicKeys = field(default_factory=dict)
    _fetched: float = float("-inf")

    def _refresh(self, now: float) -> None:
        self._keys, self._fetched = self.fetch(now), now

    def verify(self, token: str, now: float) -> None:
        if now - self._fetched >= CACHE:
            self._refresh(now)
        kid = kid_of(token)
        if kid not in self._keys and now - self._fetched >= COOLDOWN:
            self._refresh(now)
        key = self._keys.get(kid)
        if key is not None and signature_ok(token, key):
            self.verified += 1
        else:
            self.failures.append(f"at {now}: {kid} is {'wrong' if key else 'unknown'}")
