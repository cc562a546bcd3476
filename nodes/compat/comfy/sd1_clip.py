"""Text models of SD1.x as packs test for them, and the weights in a prompt. Their other classes are stand-ins."""

from __future__ import annotations

from executor.inference.text.prompt_weights import escape, segments, unescape
from executor.inference.text.stage_model import StageEncoder, StageModel
from nodes.placeholders import fallback, missing

__getattr__ = fallback(__name__)

escape_important, unescape_important = escape, unescape


class OfEncoders(type):
    """The type of classes whose instances are the text models of a CLIP (`encoders`) or one of them (`encoder`)."""

    def __instancecheck__(cls, instance: object) -> bool:
        wanted, one = vars(cls).get("encoders"), vars(cls).get("encoder")
        if isinstance(instance, StageModel):
            return wanted is not None and tuple(instance.own_encoders) == tuple(wanted)
        if isinstance(instance, StageEncoder):
            return one is not None and one in ("", instance.encoder.name)
        return super().__instancecheck__(instance)


class SD1ClipModel(metaclass=OfEncoders):
    """The one text model of SD1.x."""

    encoders = ("l",)

    def __init__(self, *given: object, **options: object) -> None:
        raise missing("comfy.sd1_clip.SD1ClipModel")


class SDClipModel(metaclass=OfEncoders):
    """Any text model by itself."""

    encoder = ""

    def __init__(self, *given: object, **options: object) -> None:
        raise missing("comfy.sd1_clip.SDClipModel")


def token_weights(string: str, current_weight: float) -> list[tuple[str, float]]:
    """The parts of a prompt and their weights by parentheses, at a weight for all."""
    return [(text, weight * current_weight) for text, weight in segments(string)]
