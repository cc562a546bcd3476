"""Webhooks as they are asked for, signed and tried again."""

import base64
import hashlib
import hmac
import json
from email.utils import formatdate

import pytest

from executor.errors import AddressRefused, BadInput
from executor.queue.job import END_EVENTS, HistoryEntry, Result, make_job
from server.hooks import (
    LONGEST_PAUSE_S,
    LONGEST_WISH_S,
    MOST_TRIES,
    composer,
    headers_of,
    key_of,
    pause_s,
    read_hook,
)

SECRET = "whsec_" + base64.b64encode(b"a key of twenty-four bytes").decode()


def read(told: object):
    return read_hook(told, "extra_data.webhook", lambda url: None)


def test_an_address_alone_is_told_of_every_end():
    hook = read("https://example.org/hook")
    assert hook is not None
    assert (hook.url, hook.events, hook.own_secret) == ("https://example.org/hook", frozenset(END_EVENTS), False)


def test_an_object_chooses_ends_and_brings_a_secret_that_is_not_shown():
    hook = read({"url": "https://example.org", "events": ["failed"], "secret": SECRET})
    assert hook is not None
    assert (hook.events, hook.own_secret, hook.secret) == ({"failed"}, True, SECRET)
    assert SECRET not in repr(hook)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (5, "must be an address"),
        ([], "must be an address"),
        ({}, "must be an address"),
        ({"url": None}, "must be an address"),
        ({"url": "u", "secrt": "x"}, "did you mean 'secret'"),
        ({"url": "u", "secret": "short"}, "at least 16"),
        ({"url": "u", "secret": 7}, "at least 16"),
        ({"url": "u", "secret": "whsec_no base64 at all"}, "base64"),
        ({"url": "u", "events": []}, "events must be a list"),
        ({"url": "u", "events": "failed"}, "events must be a list"),
        ({"url": "u", "events": ["fail"]}, "did you mean 'failed'"),
        ({"url": "u", "events": [["failed"]]}, "there is no event"),
    ],
)
def test_what_is_no_webhook_is_refused_by_name(told, said):
    with pytest.raises(BadInput, match=said) as error:
        read(told)
    assert str(error.value).startswith("extra_data.webhook")


def test_an_address_that_is_not_called_is_refused_at_once():
    def refuse(url: str) -> None:
        raise AddressRefused("no")

    with pytest.raises(BadInput, match=r"--webhook: no"):
        read_hook("http://127.0.0.1", "--webhook", refuse)


def test_the_signature_is_that_of_the_scheme():
    headers = headers_of("msg_1", b'{"a": 1}', 1700000000, SECRET)
    expected = hmac.new(b"a key of twenty-four bytes", b'msg_1.1700000000.{"a": 1}', hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg_1", "1700000000")


def test_the_schemes_own_example_is_signed_as_it_says():
    """The test vector of the Standard Webhooks documentation."""
    body = b'{"test": 2432232314}'
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    headers = headers_of("msg_p5jXN8AQM9LWM0D4loKWxJek", body, 1614265330, secret)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_without_a_secret_nothing_is_signed():
    assert "webhook-signature" not in headers_of("msg_1", b"", 1, None)


def test_a_secret_in_plain_text_is_its_own_key():
    assert key_of("sixteen characters", "") == b"sixteen characters"


def test_tries_grow_to_about_a_day():
    total = sum(pause_s(tries, None, 0.0) for tries in range(1, MOST_TRIES))
    assert 20 * 3600 < total < 32 * 3600
    assert 1.5 < pause_s(1, None, 0.0) < 2.5
    assert max(pause_s(tries, None, 0.0) for tries in range(1, 99)) <= LONGEST_PAUSE_S * 1.2


@pytest.mark.parametrize(
    ("wish", "least", "most"),
    [
        ("100", 100, 100),
        ("999999999", LONGEST_WISH_S, LONGEST_WISH_S),
        (formatdate(1000 + 60, usegmt=True), 60, 60),
        (formatdate(1, usegmt=True), 0, 3),
        ("soon", 0, 3),
        ("-5", 0, 3),
        ("9" * 400, 0, 3),
    ],
)
def test_a_receiver_may_ask_for_time(wish, least, most):
    assert least <= pause_s(1, wish, 1000.0) <= most


def test_the_body_tells_state_outputs_addresses_and_times():
    job = make_job(prompt_id="p", number=0, prompt={}, targets=["1"])
    images = {"9": {"images": [{"filename": "a b.png", "subfolder": "", "type": "output"}]}}
    entry = HistoryEntry(
        job=job, result=Result(state="succeeded", outputs_json=json.dumps(images).encode()), ended_ms=1_700_000_000_123
    )
    told = json.loads(composer("https://weft.example")(job, entry, entry.ended_ms))
    assert (told["type"], told["timestamp"]) == ("job.succeeded", "2023-11-14T22:13:20.123Z")
    data = told["data"]
    assert (data["prompt_id"], data["state"], data["outputs"], data["error"]) == ("p", "succeeded", images, None)
    assert data["files"][0]["url"] == "https://weft.example/view?filename=a%20b.png&subfolder=&type=output"
    removed = json.loads(composer("")(job, None, 0))
    assert (removed["type"], removed["data"]["state"]) == ("job.removed", "removed")


def test_a_file_name_that_is_no_unicode_keeps_nothing_from_being_told():
    job = make_job(prompt_id="p", number=0, prompt={}, targets=["1"])
    images = json.dumps({"9": {"images": [{"filename": "\udcff.png"}]}}).encode()
    entry = HistoryEntry(job=job, result=Result(state="succeeded", outputs_json=images), ended_ms=0)
    assert json.loads(composer("")(job, entry, 0))["data"]["files"]
