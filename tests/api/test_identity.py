"""E-mail addresses and passwords as identities: one canonical form, the whole password."""
from __future__ import annotations

import secrets
import string

import pytest

from harness.checks import assert_invalid_credentials, assert_problem, assert_tokens
from harness.client import Account, Client, fresh_password, fresh_tenant

SAME, REFUSED, DISTINCT = "the same account", "refused", "another account"


def _meaning(client: Client, known: Account, email: str) -> str:
    """What the service takes another spelling for; register and login must agree on it."""
    variant = Account(known.tenant, email, known.password)
    login, register = client.login(variant), client.register(variant)
    seen = (login.status_code, register.status_code)
    meanings = {(200, 409): SAME, (400, 400): REFUSED, (401, 200): DISTINCT}
    assert seen in meanings, f"login and register disagree on {email!r}: {seen}"
    if meanings[seen] == DISTINCT:
        assert_tokens(client.login(variant))
    return meanings[seen]


def _case(client: Client, base: str, variant: str) -> str:
    mark = secrets.token_hex(4)
    account = client.new_account(email=base.replace("#", mark))
    return _meaning(client, account, variant.replace("#", mark))


@pytest.mark.parametrize("base,variant", [
    ("anna-#@example.com", "ANNA-#@example.com"),
    ("anna-#@example.com", "anna-#@EXAMPLE.COM"),
    ("Anna-#@Example.Com", "aNNA-#@eXAMPLE.cOM"),
    ("ren\u00e9-#@example.com", "rene\u0301-#@example.com"),
    ("ren\u00e9-#@example.com", "REN\u00c9-#@example.com"),
    ("a-#@b\u00fccher.example", "a-#@xn--bcher-kva.example"),
    ("a-#@b\u00fccher.example", "a-#@B\u00dcCHER.example"),
    ("a-#@b\u00fccher.example", "a-#@bu\u0308cher.example"),
])
def test_spellings_of_one_address(client: Client, base: str, variant: str) -> None:
    """Case, normalisation and IDN forms of an address are the same account."""
    assert _case(client, base, variant) == SAME


@pytest.mark.parametrize("base,variant", [
    ("anna-#@example.com", " anna-#@example.com"),
    ("anna-#@example.com", "anna-#@example.com "),
    ("anna-#@example.com", "anna-#@example.com."),
    ("anna-#@example.com", "anna-#@exam\u00adple.com"),
    ("anna-#@example.com", "an\u200bna-#@example.com"),
    ("anna-#@example.com", "anna-#@example\u3002com"),
    ("anna-#@example.com", "\uff41nna-#@example.com"),
    ("anna-#@example.com", "anna-#@ex\uff41mple.com"),
    ("anna-#@example.com", "anna-#\uff20example.com"),
    ("kim-#@example.com", "\u212aim-#@example.com"),
    ("anna-#@example.com", "anna-#\t@example.com"),
    ("anna-#@example.com", "\ufeffanna-#@example.com"),
    ("anna-#@example.com", "an\u034fna-#@example.com"),
    ("anna-#@example.com", "anna\ufe0f-#@example.com"),
    ("anna-#@example.com", "anna\u3164-#@example.com"),
    ("anna-#@example.com", "anna\u17b4-#@example.com"),
])
def test_look_alikes_are_the_same_or_refused(client: Client, base: str, variant: str) -> None:
    """Blanks, full width, Kelvin sign, zero width, letters and marks that nobody sees: never a
    second account beside the first."""
    assert _case(client, base, variant) in (SAME, REFUSED)


@pytest.mark.parametrize("base,variant", [
    ("a-#@fass.example", "a-#@fa\u00df.example"),
    ("a-#@\u03b2\u03cc\u03bb\u03bf\u03c3.example", "a-#@\u03b2\u03cc\u03bb\u03bf\u03c2.example"),
])
def test_domains_that_can_have_two_owners_are_two(
    client: Client, base: str, variant: str
) -> None:
    """IDNA 2008 tells them apart, and so do registries: one owner must not get the other's account."""
    assert _case(client, base, variant) == DISTINCT


@pytest.mark.parametrize("base,variant", [
    ("ilker-#@example.com", "\u0131lker-#@example.com"),
    ("ilker-#@example.com", "\u0130lker-#@example.com"),
    ("strasse-#@example.com", "stra\u00dfe-#@example.com"),
    ("anna-#@example.com", "\u0430nna-#@example.com"),
    ("a.b-#@example.com", "ab-#@example.com"),
    ("anna-#@example.com", "anna-#+x@example.com"),
])
def test_register_and_login_agree_on_other_letters(
    client: Client, base: str, variant: str
) -> None:
    """Dotless i, sharp s, Cyrillic a: whatever it is, it is the same everywhere."""
    _case(client, base, variant)


@pytest.mark.parametrize("variant", ["a.b-#@example.com", "ab-#+tag@example.com"])
def test_dots_and_tags_belong_to_the_address(client: Client, variant: str) -> None:
    """We do not know other people's mail systems."""
    assert _case(client, "ab-#@example.com", variant) == DISTINCT


# Passwords


def _weak(client: Client, password: str, email: str | None = None) -> str:
    account = Account(password=password) if email is None else Account(fresh_tenant(), email,
                                                                       password)
    problem = assert_problem(client.register(account), 400, "weak_password")
    assert len(password) < 8 or password not in problem["message"]
    return problem["message"]


def _taken(client: Client, password: str) -> Account:
    account = client.new_account(password=password)
    assert_tokens(client.login(account))
    return account


def _random(length: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


@pytest.mark.parametrize("length", [15, 16, 64, 72, 73, 128, 255, 256])
def test_password_lengths_taken(client: Client, length: int) -> None:
    """15 to 256 code points by default."""
    _taken(client, _random(length))


@pytest.mark.parametrize("length", [0, 1, 8, 14, 257, 1000, 16000])
def test_password_lengths_refused(client: Client, length: int) -> None:
    """400 weak_password with a reason."""
    _weak(client, _random(length))


EMOJI = [chr(c) for c in range(0x1F600, 0x1F640)]


def test_password_length_counts_code_points(client: Client) -> None:
    """14 emoji (56 bytes) are too short, 15 are enough, 256 (1,024 bytes) are not too long."""
    some = secrets.SystemRandom().sample(EMOJI, 15)
    _weak(client, "".join(some[:14]))
    _taken(client, "".join(some))
    _taken(client, "".join(secrets.choice(EMOJI) for _ in range(256)))
    _weak(client, "".join(secrets.choice(EMOJI) for _ in range(257)))


def test_password_length_is_counted_after_nfc(client: Client) -> None:
    """28 code points that compose to 14 are too short; 512 that compose to 256 are taken."""
    letters = secrets.SystemRandom().sample("aeiouyAEIOUYnN", 14)
    _weak(client, "".join(letter + "\u0301" for letter in letters))
    _taken(client, "".join(secrets.choice("aeiouyAEIOUY") + "\u0301" for _ in range(256)))


@pytest.mark.parametrize("password", [
    "passwordpassword", "aaaaaaaaaaaaaaaaaaaa", "123456789012345", "qwertyuiopasdfghjkl",
    "password12345678", "abcdefghijklmnop", "iloveyouiloveyou", "111111111111111",
])
def test_password_common_or_patterned_is_refused(client: Client, password: str) -> None:
    """zxcvbn score below 3."""
    _weak(client, password)


def test_password_made_of_the_own_address_is_refused(client: Client) -> None:
    """The local part of the e-mail is context for the estimate."""
    _weak(client, "bartholomew.featherstone", "bartholomew.featherstone@example.com")


@pytest.mark.parametrize("password", [
    "violet kettle orbits dusk", "xkqjzvwpfmhgtrbn", "83610472950183649275",
    "the old password was a mango tree",
])
def test_password_needs_no_composition(client: Client, password: str) -> None:
    """No rule about classes of characters; blanks are characters."""
    _taken(client, password)


def test_password_is_verified_whole(client: Client) -> None:
    """Any change anywhere in a long password is a wrong password: no truncation, no trimming."""
    password = " " + _random(98) + " "
    account = _taken(client, password)
    positions = [0, 1, 7, 8, 15, 16, 31, 32, 55, 63, 64, 71, 72, 73, 98, 99]
    wrong = [password[:p] + ("#" if password[p] != "#" else "+") + password[p + 1:]
             for p in positions]
    wrong += [password.strip(), password[:-1], password[1:], password + " ", password.swapcase()]
    tokens_before = client.login(account)
    assert_tokens(tokens_before)
    for number, guess in enumerate(wrong):
        assert_invalid_credentials(client.login(Account(account.tenant, account.email, guess)))
        if number % 5 == 4:  # a good login clears the count of failures
            assert_tokens(client.login(account))


def test_password_composed_and_decomposed_are_one(client: Client) -> None:
    """NFC: a password typed on one system works on the other."""
    base = fresh_password()
    composed, decomposed = f"caf\u00e9-{base}", f"cafe\u0301-{base}"
    for first, second in ((composed, decomposed), (decomposed, composed)):
        account = _taken(client, first)
        assert_tokens(client.login(Account(account.tenant, account.email, second)))
        plain = Account(account.tenant, account.email, f"cafe-{base}")
        assert_invalid_credentials(client.login(plain))


def test_password_compatibility_forms_are_different(client: Client) -> None:
    """NFC, not NFKC: a full-width letter is another letter."""
    base = fresh_password()
    account = _taken(client, f"x-{base}")
    wide = Account(account.tenant, account.email, f"\uff58-{base}")
    assert_invalid_credentials(client.login(wide))


def test_password_policy_settings(make_sqlite_server) -> None:
    """PASSWORD_MIN_LENGTH, PASSWORD_MAX_LENGTH and PASSWORD_MIN_SCORE move the limits."""
    server = make_sqlite_server(
        PASSWORD_MIN_LENGTH="8", PASSWORD_MAX_LENGTH="64", PASSWORD_MIN_SCORE="0"
    )
    with server.client() as client:
        _weak(client, "a" * 7)
        _taken(client, "a" * 8)
        _taken(client, "a" * 64)
        _weak(client, "a" * 65)
