"""Nodes that give the parts of a sampling one by one. Know no models."""

from executor.inference.samplers import SAMPLER_NAMES, Sampler, sampler
from nodes.builtin.inputs import InputTypes, choice


class KSamplerSelect:
    """Chooses a sampling method by name."""

    PACK = "comfy_extras.nodes_custom_sampler"
    CATEGORY = "sampling/custom_sampling/samplers"
    RETURN_TYPES = ("SAMPLER",)
    FUNCTION = "get_sampler"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"sampler_name": choice(SAMPLER_NAMES)}}

    def get_sampler(self, sampler_name: str) -> tuple[Sampler]:
        """The method; UnknownName for a name that does not exist."""
        return (sampler(sampler_name),)


NODES = (KSamplerSelect,)
