"""What Prefer and Accept ask for."""

import pytest

from server.preferences import LONGEST_WAIT_S, WAIT_S, form_of, kind_of, wait_of


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        (["respond-async"], None),
        (["wait"], WAIT_S),
        (["Wait=5"], 5.0),
        (["return=minimal, wait=0; x"], 0.0),
        (["return=minimal", 'wait = "7"'], 7.0),
        (["wait=999999"], LONGEST_WAIT_S),
        (["wait=-1"], None),
        (["wait=soon"], None),
        (["waiting"], None),
    ],
)
def test_how_long_to_wait(headers, seconds):
    assert wait_of(headers) == seconds


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", None),
        ("*/*", None),
        ("image/*", "image"),
        ("image/png;q=0.2, application/json;q=0.1", "image"),
        ("application/json, image/*;q=0.9", None),
        ("VIDEO/mp4", "video"),
        ("image/*;q=x", None),
        ("text/html", None),
        (";;,,", None),
    ],
)
def test_which_kind_of_file(accept, kind):
    assert kind_of(accept) == kind


@pytest.mark.parametrize(
    ("accept", "media", "form"),
    [
        ("image/webp", "image/png", "webp"),
        ("image/WEBP;q=0.2, image/jpeg", "image/png", "jpeg"),
        ("image/webp", "image/webp", None),
        ("image/webp, image/*;q=0.1", "image/png", None),
        ("image/webp, */*;q=0.1", "image/png", None),
        ("image/webp, image/png;q=0", "image/png", "webp"),
        ("image/avif", "image/png", None),
        ("image/webp", "image/gif", None),
    ],
)
def test_which_form_of_a_picture(accept, media, form):
    assert form_of(accept, media) == form
