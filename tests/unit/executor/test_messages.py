"""Messages survive the wire; parametrised over the unions, so a new message is tested by itself."""

import typing

import msgspec
import pytest

from executor import messages


def example(kind: type) -> typing.Any:
    """An instance whose every field is filled with a plausible value."""
    filled = {}
    for field in msgspec.structs.fields(kind):
        filled[field.name] = _value(field.type)
    return kind(**filled)


def _value(annotation: typing.Any) -> typing.Any:
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return typing.get_args(annotation)[0]
    if origin is tuple:
        return ()
    if origin is dict:
        return {"ü": {"flag": True}, "b": None}
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return example(annotation)
    if annotation in (str, bytes, int, float, bool):
        return {str: "ü", bytes: b'{"x": NaN}', int: 7, float: 1.5, bool: True}[annotation]
    return None


@pytest.mark.parametrize("kind", typing.get_args(messages.ToWorker), ids=lambda kind: kind.__name__)
def test_messages_to_the_worker_survive(kind: type) -> None:
    message = example(kind)
    assert messages.decode_to_worker(messages.frame(message)[4:]) == message


@pytest.mark.parametrize("kind", typing.get_args(messages.FromWorker), ids=lambda kind: kind.__name__)
def test_messages_from_the_worker_survive(kind: type) -> None:
    message = example(kind)
    assert messages.decode_from_worker(messages.frame(message)[4:]) == message


def test_the_frame_starts_with_the_length_of_its_body() -> None:
    framed = messages.frame(messages.Interrupt("a"))
    assert messages.HEADER.unpack(framed[:4]) == (len(framed) - 4,)
