"""Access tokens are verifiable by anybody from the published key set (contract section 5)."""
from __future__ import annotations

import json
import subprocess
import time
import uuid
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwcrypto import jwk as jwcrypto_jwk
from jwcrypto import jwt as jwcrypto_jwt

from harness import keys
from harness.checks import assert_problem
from harness.client import JWKS, LOGIN, SESSIONS, Client, Tokens, fresh_tenant
from harness.fixtures import ServerFactory
from harness.raw import Volley, json_request
from harness.server import Server, StartFailed
from harness.settings import AUDIENCE, ISSUER

CLAIMS = {
    "iss", "aud", "sub", "tenant_id", "iat", "exp", "jti", "session_id", "sid", "actor_type",
    "auth_time", "ver",
}


@pytest.fixture
def tokens(client: Client) -> Tokens:
    return client.new_session()


def test_header_is_exact(tokens: Tokens) -> None:
    """RS256, at+jwt, a kid; nothing else."""
    header = keys.read_header(tokens.access)
    assert set(header) == {"alg", "typ", "kid"}
    assert (header["alg"], header["typ"]) == ("RS256", "at+jwt")


def test_claims_are_exact(client: Client) -> None:
    """The claim set is closed; types and values are as written."""
    account = client.new_account()
    before = int(time.time())
    claims = client.sign_in(account).claims
    after = int(time.time())
    assert set(claims) == CLAIMS
    assert (claims["iss"], claims["aud"]) == (ISSUER, AUDIENCE)
    assert (claims["sub"], claims["tenant_id"]) == (account.user, account.tenant)
    assert claims["sid"] == claims["session_id"] == str(uuid.UUID(claims["sid"]))
    assert claims["jti"] == str(uuid.UUID(claims["jti"]))
    assert (claims["actor_type"], claims["ver"]) == ("user", "2")
    for name in ("iat", "exp", "auth_time"):
        assert type(claims[name]) is int
    assert before - 1 <= claims["iat"] <= after + 1
    assert claims["exp"] - claims["iat"] == 900
    assert abs(claims["auth_time"] - claims["iat"]) <= 1


def test_claims_hold_nothing_personal(client: Client) -> None:
    """No e-mail, address or agent in the payload."""
    account = client.new_account()
    tokens = client.sign_in(account, headers={"User-Agent": "canary-agent"})
    payload = keys.unb64u(tokens.access.split(".")[1]).decode()
    for canary in (account.email, account.email.split("@")[0], account.password, "canary-agent",
                   "127.0.0.1"):
        assert canary not in payload


def test_segments_are_canonical_base64url(tokens: Tokens) -> None:
    """No padding, no other alphabet, no spare bits."""
    for part in tokens.access.split("."):
        assert keys.b64u(keys.unb64u(part)) == part


def test_jti_is_unique_and_auth_time_stays(client: Client, tokens: Tokens) -> None:
    """A refresh gives a new jti in the same session, with the time of the login."""
    rotated = client.rotate(tokens.refresh)
    assert rotated.claims["jti"] != tokens.claims["jti"]
    for name in ("sid", "sub", "tenant_id", "auth_time"):
        assert rotated.claims[name] == tokens.claims[name]


def test_auth_time_is_of_the_login(make_server: ServerFactory) -> None:
    """Two seconds later iat has moved and auth_time has not, whenever in a second they came."""
    server = make_server()
    account = server.client().new_account()
    with Volley([server.port], 40) as volley, server.client() as client:
        replies = volley.fire([json_request(LOGIN, account.body())] * 40)
        time.sleep(2)
        for reply in (reply for reply in replies if reply.status == 200):
            before = keys.read_claims(reply.json()["access_token"])
            after = client.rotate(reply.json()["refresh_token"]).claims
            assert after["auth_time"] == before["auth_time"] <= before["iat"]
            assert after["iat"] >= before["iat"] + 1


def test_verified_by_pyjwt(client: Client, tokens: Tokens) -> None:
    """PyJWT with nothing but the key set, issuer and audience."""
    key_set = jwt.PyJWKSet.from_dict(client.get(JWKS).json())
    kid = jwt.get_unverified_header(tokens.access)["kid"]
    (key,) = [k for k in key_set.keys if k.key_id == kid]
    claims = jwt.decode(tokens.access, key.key, algorithms=["RS256"], audience=AUDIENCE,
                        issuer=ISSUER, options={"require": ["exp", "iat", "sub", "jti"]})
    assert claims == tokens.claims


def test_verified_by_jwcrypto(client: Client, tokens: Tokens) -> None:
    """jwcrypto chooses the key by kid itself."""
    key_set = jwcrypto_jwk.JWKSet.from_json(client.get(JWKS).text)
    checked = jwcrypto_jwt.JWT(
        jwt=tokens.access, key=key_set, algs=["RS256"],
        check_claims={"iss": ISSUER, "aud": AUDIENCE, "exp": None},
    )
    assert json.loads(checked.claims) == tokens.claims


def test_verified_by_openssl(client: Client, tokens: Tokens, tmp_path: Path) -> None:
    """`openssl dgst -verify` with a key built from n and e."""
    (key,) = client.get(JWKS).json()["keys"]
    numbers = rsa.RSAPublicNumbers(
        int.from_bytes(keys.unb64u(key["e"]), "big"), int.from_bytes(keys.unb64u(key["n"]), "big")
    )
    pem = numbers.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signed, _, signature = tokens.access.rpartition(".")
    (tmp_path / "key.pem").write_bytes(pem)
    (tmp_path / "signature").write_bytes(keys.unb64u(signature))
    (tmp_path / "data").write_text(signed)
    (tmp_path / "other").write_text(signed + "x")
    for name, code in (("data", 0), ("other", 1)):
        done = subprocess.run(
            ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", name],
            cwd=tmp_path, capture_output=True,
        )
        assert done.returncode == code, done.stderr


def test_many_tokens_verify_and_have_their_own_jti(client: Client, tokens: Tokens) -> None:
    """100 rotations: every token verifies, no jti twice."""
    public = keys.signing_key().private.public_key()
    seen, token = set(), tokens.refresh
    for _ in range(100):
        rotated = client.rotate(token)
        token = rotated.refresh
        claims = jwt.decode(rotated.access, public, algorithms=["RS256"], audience=AUDIENCE)
        seen.add(claims["jti"])
    assert len(seen) == 100


def test_kid_defaults_to_the_thumbprint(client: Client, tokens: Tokens) -> None:
    """RFC 7638, unless JWT_KID names it."""
    assert keys.read_header(tokens.access)["kid"] == keys.signing_key().thumbprint
    assert client.get(JWKS).json()["keys"][0]["kid"] == keys.signing_key().thumbprint


def test_settings_shape_the_token(make_sqlite_server: ServerFactory) -> None:
    """JWT_KID, lifetime, issuer, audience and extra claims; `\\n` in the PEM is accepted."""
    server = make_sqlite_server(
        JWT_PRIVATE_KEY_PEM=keys.signing_key().pem.replace("\n", "\\n"),
        JWT_KID="key-2024.a", ACCESS_TOKEN_TTL_MINUTES="5", JWT_ISSUER="https://i.example/x",
        JWT_AUDIENCE="api", JWT_EXTRA_CLAIMS='{"roles":[],"perms":["a"],"n":{"x":1.5,"y":null}}',
    )
    with server.client() as client:
        response = client.login(client.new_account())
        assert response.json()["expires_in"] == 300
        token = response.json()["access_token"]
        assert keys.read_header(token)["kid"] == "key-2024.a"
        claims = keys.read_claims(token)
        assert set(claims) == CLAIMS | {"roles", "perms", "n"}
        assert (claims["iss"], claims["aud"]) == ("https://i.example/x", "api")
        assert claims["exp"] - claims["iat"] == 300
        assert (claims["roles"], claims["perms"]) == ([], ["a"])
        assert claims["n"] == {"x": 1.5, "y": None}
        assert client.sessions(token).status_code == 200


def test_a_client_id_can_be_given(make_sqlite_server: ServerFactory) -> None:
    """RFC 9068 wants client_id in what is typed at+jwt, and some verifiers insist."""
    server = make_sqlite_server(JWT_EXTRA_CLAIMS='{"client_id":"web"}')
    with server.client() as client:
        session = client.new_session()
        assert session.claims["client_id"] == "web"
        assert client.sessions(session.access).status_code == 200


@pytest.mark.parametrize("name", sorted(CLAIMS | {"nbf"}))
def test_extra_claims_replace_nothing(make_sqlite_server: ServerFactory, name: str) -> None:
    """A claim of ours in JWT_EXTRA_CLAIMS stops the start, or has no effect."""
    try:
        server = make_sqlite_server(JWT_EXTRA_CLAIMS=json.dumps({name: "evil"}))
    except StartFailed as refused:
        assert refused.returncode == 1
        assert "JWT_EXTRA_CLAIMS" in refused.stderr
        return
    with server.client() as client:
        assert client.new_session().claims[name] != "evil"


def test_previous_key_is_published_and_verifies(make_server: ServerFactory) -> None:
    """JWT_PREV_PUBLIC_KEY_PEM: tokens of the old key are good after the change of keys."""
    server = make_server()
    with server.client() as client:
        old = client.new_session().access
    server.restart(
        JWT_PRIVATE_KEY_PEM=keys.other_key().pem, JWT_KID="new", JWT_PREV_KID="old",
        JWT_PREV_PUBLIC_KEY_PEM=keys.signing_key().public_pem,
    )
    with server.client() as client:
        published = {key["kid"]: key for key in client.get(JWKS).json()["keys"]}
        assert set(published) == {"new", "old"}
        assert published["old"]["n"] == keys.signing_key().jwk["n"]
        assert published["new"]["n"] == keys.other_key().jwk["n"]
        tokens = client.new_session()
        assert keys.read_header(tokens.access)["kid"] == "new"
        # the old token carries its thumbprint as kid, which is not published any more
        assert_problem(client.sessions(old), 401)
        header = {**keys.read_header(old), "kid": "old"}
        renamed = keys.mint(keys.signing_key(), header, keys.read_claims(old))
        assert client.sessions(renamed).status_code == 200
        # neither key may sign under the other's name
        for key, kid in ((keys.signing_key(), "new"), (keys.other_key(), "old")):
            forged = keys.mint(key, {**header, "kid": kid}, tokens.claims)
            assert_problem(client.sessions(forged), 401)


def test_generated_keys_and_secret_are_private_and_stay(make_sqlite_server: ServerFactory) -> None:
    """Development without keys: made once, 0600, the same after a restart."""
    server = make_sqlite_server(JWT_PRIVATE_KEY_PEM=None, SERVICE_SECRET=None)
    with server.client() as client:
        first, tokens = client.get(JWKS).json(), client.new_session()
    files = [path for path in server.storage.data_dir.rglob("*") if path.is_file()]
    secrets = [path for path in files if not path.name.startswith("watchword.db")]
    assert len(secrets) >= 2
    for path in files:
        assert path.stat().st_mode & 0o077 == 0, f"{path} is readable by others"
    server.restart()
    with server.client() as client:
        assert client.get(JWKS).json() == first
        client.rotate(tokens.refresh)


def test_tokens_of_different_kinds_do_not_mix(client: Client, tokens: Tokens) -> None:
    """A refresh token is no access token, an access token no refresh token; not in the query."""
    assert_problem(client.sessions(tokens.refresh), 401)
    assert_problem(client.refresh(tokens.access), 401, "invalid_refresh_token")
    assert_problem(client.get(f"{SESSIONS}?access_token={tokens.access}"), 401)
    assert_problem(client.get(SESSIONS, headers={"Cookie": f"access={tokens.access}"}), 401)


def test_access_token_acts_for_its_own_tenant_only(client: Client, tokens: Tokens) -> None:
    """Another tenant in the query is 403, whoever the user."""
    query = f"?tenant_id={fresh_tenant()}&user_id={tokens.claims['sub']}"
    assert_problem(client.sessions(tokens.access, query), 403)


def test_private_key_is_not_in_the_log(server: Server, tokens: Tokens) -> None:
    """Nor any line of its PEM."""
    log = server.whole_log()
    for line in keys.signing_key().pem.splitlines()[1:-1]:
        assert line.encode() not in log
