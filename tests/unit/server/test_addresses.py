"""Which addresses may be called: every spelling of a private one is refused."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import AddressRefused, BadInput
from server.addresses import literal, opened, origin, read_url, refusal


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "169.254.169.254",
        "172.31.255.255",
        "192.0.0.192",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.9",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b:1::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "100::1",
        "3fff::1",
        "5f00::1",
    ],
)
def test_what_is_not_public_is_refused(text: str):
    assert refusal(literal(text)) is not None


@pytest.mark.parametrize("text", ["8.8.8.8", "172.32.0.1", "2606:4700::1111", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8"])
def test_the_public_internet_may_be_called(text: str):
    assert refusal(literal(text)) is None


@given(st.ip_addresses(v=4))
def test_no_address_is_called_that_python_counts_as_private(address: ipaddress.IPv4Address):
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert refusal(address) is not None
        assert refusal(ipaddress.IPv6Address(f"::ffff:{address}")) is not None
        assert refusal(ipaddress.IPv6Address(f"64:ff9b::{address}")) is not None


@pytest.mark.parametrize(
    "text",
    [
        "ftp://example.org/a",
        "file:///etc/passwd",
        "gopher://example.org",
        "//example.org/a",
        "example.org",
        "",
        "http://",
        "http:///a",
        "https://user@example.org/",
        "https://:word@example.org/",
        "http://example.org:22/",
        "http://example.org:0/",
        "http://example.org:99999/",
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://127.1/",
        "http://0177.0.0.1/",
        "http://127.0.0.1./",
        "http://1.2.3.4.5/",
        "http://example.0x/",
        "http://ex ample.org/",
        "http://example.org\\@127.0.0.1/",
        "http://example.org/\n",
        "http://[::1/",
        "http://example.org/" + "a" * 5000,
    ],
)
def test_odd_addresses_are_refused_as_text(text: str):
    with pytest.raises(AddressRefused):
        read_url(text)


@pytest.mark.parametrize(
    "text",
    ["http://example.org", "https://example.org:8443/a?b=c", "http://[2606:4700::1111]/", "https://münchen.example/"],
)
def test_ordinary_addresses_are_read(text: str):
    assert read_url(text).raw_host


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str):
    for address in (text, f"http://{text}", f"http://{text}/"):
        try:
            url = read_url(address)
        except AddressRefused:
            continue
        assert url.scheme in ("http", "https")
        assert url.raw_host


def test_entries_open_names_addresses_and_networks():
    some = opened(["Receiver.Internal", "10.1.2.3/16", "::1"])
    assert some.has("receiver.internal.", literal("192.168.0.1"))
    assert some.has("elsewhere", literal("10.1.9.9"))
    assert some.has("elsewhere", literal("::1"))
    assert not some.has("elsewhere", literal("10.2.0.1"))


@pytest.mark.parametrize("entry", ["http://a", "10.0.0.0/99", "a b", "127.1", "", "*"])
def test_an_entry_that_is_none_is_refused_by_name(entry: str):
    with pytest.raises(BadInput, match="--allow-outbound"):
        opened([entry])


def test_no_more_of_an_address_is_told_than_where_it_lies():
    assert origin("https://hooks.example.org/T0KEN?key=secret") == "https://hooks.example.org"
    assert origin("no address") == "an address"
