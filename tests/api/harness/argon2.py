"""Argon2id by the reference library, an independent judge of the rows the service writes."""
from __future__ import annotations

import base64
import ctypes
import ctypes.util
import re
from dataclasses import dataclass

_PHC = re.compile(
    r"\$argon2id\$v=19\$m=(?P<m>\d+),t=(?P<t>\d+),p=(?P<p>\d+)(?:,keyid=(?P<keyid>[^,$]+))?"
    r"\$(?P<salt>[A-Za-z0-9+/]+)\$(?P<tag>[A-Za-z0-9+/]+)"
)


@dataclass(frozen=True)
class Phc:
    """A PHC string taken apart."""

    memory: int
    passes: int
    lanes: int
    keyid: str | None
    salt: bytes
    tag: bytes


def _unb64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))


def parse(text: str) -> Phc:
    match = _PHC.fullmatch(text)
    assert match, f"no Argon2id PHC string: {text!r}"
    numbers = [int(match[name]) for name in "mtp"]
    return Phc(*numbers, match["keyid"], _unb64(match["salt"]), _unb64(match["tag"]))


def raw_hash(password: str, like: Phc) -> bytes:
    """The tag of a password under the row's parameters and salt, without any pepper."""
    library = ctypes.CDLL(ctypes.util.find_library("argon2") or "libargon2.so.1")
    secret = password.encode()
    tag = ctypes.create_string_buffer(len(like.tag))
    code = library.argon2id_hash_raw(
        ctypes.c_uint32(like.passes), ctypes.c_uint32(like.memory), ctypes.c_uint32(like.lanes),
        secret, ctypes.c_size_t(len(secret)), like.salt, ctypes.c_size_t(len(like.salt)),
        tag, ctypes.c_size_t(len(like.tag)),
    )
    assert code == 0, f"argon2id_hash_raw: {code}"
    return tag.raw


def phc_of(password: str, *, memory: int, passes: int, lanes: int = 1) -> str:
    """A row as another (older) configuration would have written it."""
    salt = b"0123456789abcdef"
    tag = raw_hash(password, Phc(memory, passes, lanes, None, salt, bytes(32)))
    parts = [base64.b64encode(part).rstrip(b"=").decode() for part in (salt, tag)]
    return f"$argon2id$v=19$m={memory},t={passes},p={lanes}${parts[0]}${parts[1]}"
