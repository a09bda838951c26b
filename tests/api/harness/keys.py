"""RSA keys, base64url and hand-made JWTs: nothing here trusts a JWT library."""
from __future__ import annotations

import base64
import functools
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

Json = dict[str, Any]


@dataclass(frozen=True)
class RsaKey:
    """An RSA key with the forms the tests need."""

    private: rsa.RSAPrivateKey

    @property
    def pem(self) -> str:
        return self.private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()

    @property
    def public_pem(self) -> str:
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()

    @property
    def public_der(self) -> bytes:
        return self.private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def jwk(self) -> dict[str, str]:
        numbers = self.private.public_key().public_numbers()
        return {"kty": "RSA", "n": uint64url(numbers.n), "e": uint64url(numbers.e)}

    @property
    def thumbprint(self) -> str:
        """RFC 7638."""
        canonical = json.dumps(self.jwk, sort_keys=True, separators=(",", ":"))
        return b64u(hashlib.sha256(canonical.encode()).digest())

    def sign(self, data: bytes, hash_alg: hashes.HashAlgorithm | None = None) -> bytes:
        return self.private.sign(data, padding.PKCS1v15(), hash_alg or hashes.SHA256())

    def sign_pss(self, data: bytes) -> bytes:
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
        return self.private.sign(data, pss, hashes.SHA256())


def new_key(bits: int = 2048) -> RsaKey:
    return RsaKey(rsa.generate_private_key(public_exponent=65537, key_size=bits))


@functools.lru_cache(maxsize=None)
def signing_key() -> RsaKey:
    """The key every test server signs with: the tests can forge what only its owner could."""
    return new_key()


@functools.lru_cache(maxsize=None)
def other_key() -> RsaKey:
    """A key the service has never heard of."""
    return new_key()


def b64u(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64u(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def uint64url(number: int) -> str:
    return b64u(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def segment(value: Json | bytes | str) -> str:
    """One JWT segment; bytes and text are taken as they are, to allow malformed JSON."""
    if isinstance(value, dict):
        value = json.dumps(value, separators=(",", ":"))
    return b64u(value.encode() if isinstance(value, str) else value)


def join_signed(key: RsaKey, head: str, body: str) -> str:
    """Sign two ready-made segments."""
    return f"{head}.{body}.{b64u(key.sign(f'{head}.{body}'.encode()))}"


def mint(key: RsaKey, header: Json | bytes | str, claims: Json | bytes | str) -> str:
    """A JWT signed with RS256 whatever its header says."""
    return join_signed(key, segment(header), segment(claims))


def read_header(token: str) -> Json:
    return json.loads(unb64u(token.split(".")[0]))


def read_claims(token: str) -> Json:
    """The claims, unverified."""
    return json.loads(unb64u(token.split(".")[1]))
