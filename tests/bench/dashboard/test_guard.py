"""Which requests are served at all."""

from __future__ import annotations

import pytest

pytest.importorskip("starlette", reason="needs the extra dashboard")

from starlette.datastructures import Headers

from bench.dashboard.guard import host_name, refusal

NAMES = frozenset({"bench.example"})


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8787", "localhost", "[::1]:8787", "192.168.1.7", "Bench.Example:443"]
)
def test_own_names_are_served(host: str) -> None:
    """IP addresses and localhost, which no foreign DNS answer can lead here, and those named."""
    assert refusal(Headers({"host": host}), "GET", NAMES) is None


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "[::1", "a b"]
)
def test_foreign_names_are_refused(host: str) -> None:
    """DNS rebinding: a page of evil.example, which resolves to this machine, stays outside."""
    found = refusal(Headers({"host": host}), "GET", NAMES)
    assert found is not None and found[0] == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:9999"},
        {"origin": "http://evil.example", "sec-fetch-site": "same-origin"},
    ],
)
def test_other_sites_may_not_change_anything(headers: dict[str, str]) -> None:
    """By what browsers say of a request's origin; reading tells them nothing anyway."""
    asked = Headers({"host": "localhost:8787", **headers})
    for method in ("POST", "DELETE", "PUT"):
        found = refusal(asked, method, NAMES)
        assert found is not None and found[0] == 403
    assert refusal(asked, "GET", NAMES) is None


def test_the_page_itself_and_programs_may() -> None:
    """A browser's own page, and curl, which says nothing of an origin."""
    host = {"host": "localhost:8787"}
    own = {"origin": "http://localhost:8787", "sec-fetch-site": "same-origin"}
    assert refusal(Headers({**host, **own}), "POST", NAMES) is None
    assert refusal(Headers(host), "POST", NAMES) is None


def test_a_host_is_read_without_its_port() -> None:
    """In lower case; what is none is empty."""
    assert [host_name(x) for x in ("A.b:1", "[::1]:2", "", "[")] == ["a.b", "::1", "", ""]
