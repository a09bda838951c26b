"""POST /api/auth/register (contract section 4)."""
from __future__ import annotations

import uuid

import pytest

from harness.checks import (
    assert_invalid_credentials,
    assert_problem,
    assert_tokens,
    media_type,
)
from harness.client import REGISTER, Account, Client, fresh_email, fresh_tenant
from harness.fixtures import ServerFactory
from harness.raw import Volley, count_statuses, json_request
from harness.server import Server


def test_register_answers_ok_and_user_id(client: Client) -> None:
    """The body is exactly {"ok":true,"user_id":...}."""
    response = client.register(Account())
    assert response.status_code == 200
    assert media_type(response) == "application/json"
    body = response.json()
    assert set(body) == {"ok", "user_id"}
    assert body["ok"] is True
    assert body["user_id"] == str(uuid.UUID(body["user_id"]))


def test_register_makes_a_uuid_v7(client: Client) -> None:
    """Without user_id the service makes one of version 7, later ones sorting later."""
    made = [uuid.UUID(client.register(Account()).json()["user_id"]) for _ in range(3)]
    assert all(one.version == 7 for one in made)
    assert [m.int >> 80 for m in made] == sorted(m.int >> 80 for m in made)


@pytest.mark.parametrize("form", ["hyphenated", "upper", "hex", "upper_hex"])
def test_register_takes_uuids_in_any_form(client: Client, form: str) -> None:
    """Hyphenated or 32 hex digits in any case; given back lower-case hyphenated."""
    forms = {"hyphenated": str, "upper": lambda u: str(u).upper(), "hex": lambda u: u.hex,
             "upper_hex": lambda u: u.hex.upper()}
    write = forms[form]
    tenant, user = uuid.uuid4(), uuid.uuid4()
    account = Account(tenant=write(tenant))
    response = client.register(account, user_id=write(user))
    assert response.json() == {"ok": True, "user_id": str(user)}
    claims = client.sign_in(account).claims
    assert (claims["tenant_id"], claims["sub"]) == (str(tenant), str(user))
    plain = Account(str(tenant), account.email, account.password)
    assert_tokens(client.login(plain))


@pytest.mark.parametrize("text", [
    "{%s}", "urn:uuid:%s", "%s0", " %s", "%s ", "", "x", "0" * 31, "0" * 33, "g" * 32,
])
def test_register_refuses_other_uuid_forms(client: Client, text: str) -> None:
    """Braces, URNs, blanks and wrong lengths are no UUID: 422 naming the member."""
    tenant = text % uuid.uuid4() if "%s" in text else text
    assert_problem(client.register(Account(tenant=tenant)), 422, names="tenant_id")


def test_register_same_email_twice_is_409(client: Client, server: Server) -> None:
    """409 credential_exists for tenant+email; the first password goes on working."""
    first = client.new_account()
    second = Account(first.tenant, first.email)
    response = client.register(second)
    assert_problem(response, 409, "credential_exists", "credential already exists")
    assert server.db.count("credentials", tenant_id=first.tenant) == 1
    assert_tokens(client.login(first))
    assert_invalid_credentials(client.login(second))


def test_register_same_user_id_twice_is_409(client: Client) -> None:
    """409 for tenant+user_id as well."""
    first = client.new_account()
    response = client.register(Account(tenant=first.tenant), user_id=first.user)
    assert_problem(response, 409, "credential_exists", "credential already exists")


def test_register_is_separate_for_each_tenant(client: Client) -> None:
    """The same address and user id in another tenant is another account."""
    first = client.new_account()
    twin = Account(email=first.email)
    assert client.register(twin, user_id=first.user).status_code == 200
    assert_tokens(client.login(twin))
    assert_invalid_credentials(client.login(Account(twin.tenant, first.email, first.password)))


@pytest.mark.parametrize("email", [
    "", " ", "plain", "@example.com", "a@", "a@@example.com", "a@b@example.com", "a b@example.com",
    "a@exa mple.com", "a@.example.com", "a@example..com", "a@-example.com", "a@example-.com",
    ".a@example.com", "a.@example.com", "a..b@example.com", "a@example.com\r\nx: y",
    "a\t@example.com",
    "<a@example.com>", "Eve <a@example.com>", "a@example.com,b@example.com",
    "x" * 65 + "@example.com", "a@" + "x" * 64 + ".com", "a@" + ".".join(["x" * 60] * 5) + ".com",
    "a\u200b@example.com", "a\u202e@example.com", "a@example.com\u007f",
])
def test_register_refuses_what_is_no_address(client: Client, server: Server, email: str) -> None:
    """400 invalid_email "invalid email", and no row."""
    account = Account(email=email)
    assert_problem(client.register(account), 400, "invalid_email", "invalid email")
    assert server.db.count("credentials", tenant_id=account.tenant) == 0
    assert_problem(client.login(account), 400, "invalid_email", "invalid email")


@pytest.mark.parametrize("email", [
    "a@example.com", "a.b+c@example.co.uk", "o'brien@example.com", "x" * 64 + "@example.com",
    "a@xn--bcher-kva.example", "a@bücher.example", "1@2.example", "a_b-c@sub.sub.example.com",
])
def test_register_takes_ordinary_addresses(client: Client, email: str) -> None:
    """What mail systems use is an address."""
    account = client.new_account(email=email)
    assert_tokens(client.login(account))


def test_register_stores_the_canonical_address_and_no_password(
    client: Client, server: Server
) -> None:
    """The row holds the canonical e-mail, an Argon2id PHC string and the status."""
    account = client.new_account(email=f"MiXed-{fresh_tenant()[:8]}@EXAMPLE.com")
    row = server.db.credential(account.tenant)
    assert row["email"] == account.email.lower()
    assert row["user_id"] == account.user
    assert row["status"] == "active"
    assert row["password_hash"].startswith("$argon2id$v=19$m=19456,t=2,p=1")
    assert account.password not in str(row)


# X-Idempotency-Key


def _key(text: str | None = None) -> dict[str, str]:
    return {"X-Idempotency-Key": text or uuid.uuid4().hex}


def test_idempotency_key_repeats_the_first_answer(client: Client, server: Server) -> None:
    """A repeat with the same key, tenant, user and e-mail answers as the first; one row."""
    account, key = Account(), _key()
    first = client.register(account, headers=key)
    again = client.register(account, headers=key)
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert server.db.count("credentials", tenant_id=account.tenant) == 1
    assert_problem(client.register(account, headers=_key()), 409, "credential_exists")
    assert_problem(client.register(account), 409, "credential_exists")


def test_idempotency_key_with_a_given_user_id(client: Client) -> None:
    """The user id is part of what must be equal."""
    account, key, user = Account(), _key(), fresh_tenant()
    for _ in range(2):
        response = client.register(account, headers=key, user_id=user)
        assert response.json() == {"ok": True, "user_id": user}
    other = client.register(account, headers=key, user_id=fresh_tenant())
    assert_problem(other, 409, "credential_exists")


@pytest.mark.parametrize("changed", ["tenant", "email"])
def test_idempotency_key_belongs_to_its_request(client: Client, changed: str) -> None:
    """The same key with another tenant or e-mail is another request."""
    account, key = Account(), _key()
    other = Account(
        fresh_tenant() if changed == "tenant" else account.tenant,
        fresh_email() if changed == "email" else account.email,
        account.password,
    )
    first = client.register(account, headers=key).json()["user_id"]
    second = client.register(other, headers=key)
    assert second.status_code == 200
    assert second.json()["user_id"] != first


def test_idempotency_key_tells_a_user_id_from_an_address(client: Client) -> None:
    """What a user id and an address are together is not one address that begins with its bytes."""
    account, key, start = Account(), _key(), "sixteen.letters."
    long = Account(account.tenant, start + account.email, account.password)
    first = client.register(long, headers=key).json()["user_id"]
    user = str(uuid.UUID(bytes=start.encode()))
    second = client.register(account, headers=key, user_id=user)
    assert second.json() == {"ok": True, "user_id": user} != {"ok": True, "user_id": first}


def test_idempotency_key_lasts_a_day(client: Client, server: Server) -> None:
    """Just under 24 hours it answers as before, after them the account exists."""
    account, key = Account(), _key()
    user = client.register(account, headers=key).json()["user_id"]
    server.db.age_idempotency(user, 24 * 3600 - 60)
    assert client.register(account, headers=key).json() == {"ok": True, "user_id": user}
    server.db.age_idempotency(user, 61)
    assert_problem(client.register(account, headers=key), 409, "credential_exists")


def test_idempotency_key_length(client: Client) -> None:
    """255 characters are taken, 256 are 400."""
    assert client.register(Account(), headers=_key("k" * 255)).status_code == 200
    assert_problem(client.register(Account(), headers=_key("k" * 256)), 400)


def test_idempotency_key_in_parallel(server: Server) -> None:
    """20 simultaneous sendings of one request: all answer alike, one row."""
    account, key = Account(), _key()
    with Volley([server.port], 20) as volley:
        replies = volley.fire([json_request(REGISTER, account.body(), key)] * 20)
    assert count_statuses(replies) == {200: 20}
    assert len({reply.json()["user_id"] for reply in replies}) == 1
    assert server.db.count("credentials", tenant_id=account.tenant) == 1


# REGISTER_TOKEN


@pytest.fixture(scope="module")
def token_server(make_shared_server: ServerFactory) -> Server:
    return make_shared_server(REGISTER_TOKEN="canary-register-token-0123456789")


@pytest.mark.parametrize("header", [
    None, "", "Bearer", "Bearer x", "canary-register-token-0123456789",
    "Basic canary-register-token-0123456789", "Bearer canary-register-token-012345678",
    "Bearer canary-register-token-01234567890", "Bearer CANARY-REGISTER-TOKEN-0123456789",
])
def test_register_token_missing_or_wrong_is_401(token_server: Server, header: str | None) -> None:
    """401 and no row."""
    account = Account()
    with token_server.client() as client:
        headers = {} if header is None else {"Authorization": header}
        assert_problem(client.register(account, headers=headers), 401)
    assert token_server.db.count("credentials", tenant_id=account.tenant) == 0


def test_register_token_comes_before_anything_else(token_server: Server) -> None:
    """Without it even a malformed body, a wrong media type and a bad e-mail are 401."""
    with token_server.client() as client:
        json_type = {"Content-Type": "application/json"}
        assert_problem(client.post(REGISTER, content=b"{", headers=json_type), 401)
        text = {"Content-Type": "text/plain"}
        assert_problem(client.post(REGISTER, content=b"x", headers=text), 401)
        assert_problem(client.register(Account(email="no address")), 401)


def test_register_token_right_registers(token_server: Server) -> None:
    """With it, register works; login needs none."""
    account = Account()
    with token_server.client() as client:
        headers = {"Authorization": "Bearer canary-register-token-0123456789"}
        assert client.register(account, headers=headers).status_code == 200
        assert_tokens(client.login(account))
