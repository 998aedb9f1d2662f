from __future__ import annotations

import pytest

from georeset_lab.dashboard.exposure import allowed_origins, bind_address, check_exposure, is_loopback
from georeset_lab.errors import InvalidOption


@pytest.mark.parametrize("address", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.0.9", "::1", "[::1]"])
def test_this_machine_needs_no_login(address):
    assert is_loopback(address)
    check_exposure(address, login=False, origins=None)


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "::", "", "*", "192.168.1.4", "example.org", "localhost.evil.example", "127.0.0.1.evil.example"],
)
def test_an_address_that_others_reach_needs_a_login_and_the_message_says_which_flag(address):
    assert not is_loopback(address)
    with pytest.raises(InvalidOption, match="--basic-auth"):
        check_exposure(address, login=False, origins=["maps.example.org"])


def test_an_address_that_others_reach_needs_an_origin_too():
    with pytest.raises(InvalidOption, match="--allow-websocket-origin"):
        check_exposure("0.0.0.0", login=True, origins=None)
    check_exposure("0.0.0.0", login=True, origins=["maps.example.org", "10.0.0.4:5006", "[fd00::4]:80"])


@pytest.mark.parametrize(
    "origin", ["*", "*.example.org", "https://example.org", "example.org/app", "a b", "", "x@y.org", "a:b"]
)
def test_an_origin_is_a_host_and_never_a_wildcard(origin):
    with pytest.raises(InvalidOption, match="not a host"):
        check_exposure("localhost", login=False, origins=[origin])


def test_by_default_only_this_machine_may_connect():
    assert set(allowed_origins(5006, None)) == {"localhost:5006", "127.0.0.1:5006", "[::1]:5006"}
    assert allowed_origins(5006, ["maps.example.org"]) == ["maps.example.org"]
    assert bind_address("localhost") == "127.0.0.1"
    assert bind_address("0.0.0.0") == "0.0.0.0"
