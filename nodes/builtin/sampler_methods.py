"""Nodes that choose a sampling method (SAMPLER) and its options. Know no models and no formulas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from executor.inference.samplers import SAMPLER_NAMES, Sampler, sampler
from executor.inference.samplers.er_sde import NoiseScale, er_sde_noise
from executor.inference.samplers.sa_solver import interval_stochasticity
from nodes.builtin.inputs import InputTypes, choice, decimal, integer

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle

PACK = "comfy_extras.nodes_custom_sampler"
METHODS = "sampling/custom_sampling/samplers"
FRESH = decimal(1.0, 0.0, 100.0, round=False)
PATH_DEVICE = choice(["gpu", "cpu"])
ER_SDE_KINDS = ["ER-SDE", "Reverse-time SDE", "ODE"]


def drawn_on(name: str, device: str) -> Sampler:
    """The method of a name, its path drawn on the latent's device or on the CPU."""
    return sampler(f"{name}_gpu" if device == "gpu" else name)


class KSamplerSelect:
    """Chooses a sampling method by name."""

    PACK = PACK
    CATEGORY = METHODS
    RETURN_TYPES = ("SAMPLER",)
    FUNCTION = "get_sampler"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"sampler_name": choice(SAMPLER_NAMES)}}

    def get_sampler(self, sampler_name: str) -> tuple[Sampler]:
        """The method; UnknownName for a name that does not exist."""
        return (sampler(sampler_name),)


class SamplerEulerAncestral:
    """Euler's method with part of the noise drawn afresh."""

    PACK = PACK
    CATEGORY = METHODS
    RETURN_TYPES = ("SAMPLER",)
    FUNCTION = "get_sampler"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"eta": FRESH, "s_noise": FRESH}}

    def get_sampler(self, eta: float, s_noise: float) -> tuple[Sampler]:
        """The method; `eta` is how much is drawn afresh, `s_noise` how strong that is."""
        return (sampler("euler_ancestral").with_options(eta=eta, s_noise=s_noise),)


class SamplerEulerAncestralCFGPP:
    """The same with guidance that keeps to the unconditional path (CFG++)."""

    PACK = PACK
    DISPLAY_NAME = "SamplerEulerAncestralCFG++"
    CATEGORY = METHODS
    RETURN_TYPES = ("SAMPLER",)
    FUNCTION = "get_sampler"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "eta": decimal(1.0, 0.0, 1.0, round=False),
                "s_noise": decimal(1.0, 0.0, 10.0, round=False),
            }
        }

    def get_sampler(self, eta: float, s_noise: float) -> tuple[Sampler]:
        """The method."""
        return (sampler("euler_ancestral_cfg_pp").with_options(eta=eta, s_noise=s_noise),)


class SamplerLMS:
    """The linear multistep method of an order."""

    PACK = PACK
    CATEGORY = METHODS
    RETURN_TYPES = ("SAMPLER",)
    FUNCTION = "get_sampler"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"order": integer(4, 1, 100)}}

    def get_sampler(self, order: int) -> tuple[Sampler]:
        """The method."""
        return (sampler("lms").with_options(order=order),)


class SamplerDPMPP_3M_SDE:  # noqa: N801  (the name that clients send)
    """DPM-Solver++ of third order with noise."""

    PACK = PACK
    CATEGORY = METHODS
    RETURN_TYPES = ("SAMPLER",)
    FUNCTION = "get_sampler"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"eta": FRESH, "s_noise": FRESH, "noise_device": PATH_DEVICE}}

    def get_sampler(self, eta: float, s_noise: float, noise_device: str) -> tuple[Sampler]:
        """The method."""
        return (drawn_on("dpmpp_3m_sde", noise_device).with_options(eta=eta, s_noise=s_noise),)


class SamplerDPMPP_2M_SDE:  # noqa: N801  (the name that clients send)
    """DPM-Solver++ of second order with noise."""

    PACK = PACK
    CATEGORY = METHODS
    RETURN_TYPES = ("SAMPLER",)
    FUNCTION = "get_sampler"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        kinds = choice(["midpoint", "heun"])
        return {
            "required": {"solver_type": kinds, "eta": FRESH, "s_noise": FRESH, "noise_device": PATH_DEVICE}
        }  # fmt: skip

    def get_sampler(self, solver_type: str, eta: float, s_noise: float, noise_device: str) -> tuple[Sampler]:
        """The method."""
        method = drawn_on("dpmpp_2m_sde", noise_device)
        return (method.with_options(eta=eta, s_noise=s_noise, solver_type=solver_type),)


class SamplerDPMPP_SDE:  # noqa: N801  (the name that clients send)
    """DPM-Solver++ of single steps with noise in the middle and at the end of each."""

    PACK = PACK
    CATEGORY = METHODS
    RETURN_TYPES = ("SAMPLER",)
    FUNCTION = "get_sampler"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        middle = decimal(0.5, 0.0, 100.0, round=False)
        return {"required": {"eta": FRESH, "s_noise": FRESH, "r": middle, "noise_device": PATH_DEVICE}}

    def get_sampler(self, eta: float, s_noise: float, r: float, noise_device: str) -> tuple[Sampler]:
        """The method; `r` is where the middle lies."""
        return (drawn_on("dpmpp_sde", noise_device).with_options(eta=eta, s_noise=s_noise, r=r),)


class SamplerDPMPP_2S_Ancestral:  # noqa: N801  (the name that clients send)
    """DPM-Solver++ of two stages with part of the noise drawn afresh."""

    PACK = PACK
    CATEGORY = METHODS
    RETURN_TYPES = ("SAMPLER",)
    FUNCTION = "get_sampler"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"eta": FRESH, "s_noise": FRESH}}

    def get_sampler(self, eta: float, s_noise: float) -> tuple[Sampler]:
        """The method."""
        return (sampler("dpmpp_2s_ancestral").with_options(eta=eta, s_noise=s_noise),)


class SamplerDPMAdaptative:
    """DPM-Solver that chooses its steps by the error it sees."""

    PACK = PACK
    CATEGORY = METHODS
    RETURN_TYPES = ("SAMPLER",)
    FUNCTION = "get_sampler"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        zero = decimal(0.0, 0.0, 100.0, round=False)
        return {
            "required": {
                "order": integer(3, 2, 3),
                "rtol": decimal(0.05, 0.0, 100.0, round=False),
                "atol": decimal(0.0078, 0.0, 100.0, round=False),
                "h_init": decimal(0.05, 0.0, 100.0, round=False),
                "pcoeff": zero,
                "icoeff": FRESH,
                "dcoeff": zero,
                "accept_safety": decimal(0.81, 0.0, 100.0, round=False),
                "eta": zero,
                "s_noise": FRESH,
            }
        }

    def get_sampler(self, **options: float) -> tuple[Sampler]:
        """The method; the coefficients are those of a PID controller of the step's length."""
        return (sampler("dpm_adaptive").with_options(**options),)


class SamplerER_SDE:  # noqa: N801  (the name that clients send)
    """Extended reverse-time SDE solvers."""

    PACK = PACK
    CATEGORY = METHODS
    RETURN_TYPES = ("SAMPLER",)
    FUNCTION = "get_sampler"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "solver_type": ("COMBO", {"options": list(ER_SDE_KINDS)}),
                "max_stage": integer(3, 1, 3),
                "eta": FRESH,
                "s_noise": FRESH,
            }
        }

    def get_sampler(self, solver_type: str, max_stage: int, eta: float, s_noise: float) -> tuple[Sampler]:
        """The method; `eta` counts for the reverse-time SDE only, which without it is the ODE."""
        power = eta if solver_type == "Reverse-time SDE" else 0.0
        if solver_type == "ODE" or (solver_type == "Reverse-time SDE" and eta == 0):
            s_noise = 0.0
        scale = er_sde_noise if solver_type == "ER-SDE" else powered(1.0 + power)
        options = {"noise_scale": scale, "max_stage": max_stage, "s_noise": s_noise}
        return (sampler("er_sde").with_options(**options),)


class SamplerSASolver:
    """Stochastic Adams solver, noisy within a part of the sampling."""

    PACK = PACK
    CATEGORY = METHODS
    RETURN_TYPES = ("SAMPLER",)
    FUNCTION = "get_sampler"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": ("MODEL", {}),
                "eta": decimal(1.0, 0.0, 10.0, round=False),
                "sde_start_percent": decimal(0.2, 0.0, 1.0, 0.001),
                "sde_end_percent": decimal(0.8, 0.0, 1.0, 0.001),
                "s_noise": FRESH,
                "predictor_order": integer(3, 1, 6),
                "corrector_order": integer(4, 0, 6),
                "use_pece": ("BOOLEAN", {}),
                "simple_order_2": ("BOOLEAN", {}),
            }
        }

    def get_sampler(
        self,
        model: ModelHandle,
        eta: float,
        sde_start_percent: float,
        sde_end_percent: float,
        s_noise: float,
        predictor_order: int,
        corrector_order: int,
        use_pece: bool,
        simple_order_2: bool,
    ) -> tuple[Sampler]:
        """The method for this model's noise levels."""
        level = model.model_sampling.percent_to_sigma
        method = sampler("sa_solver").with_options(
            tau=interval_stochasticity(level(sde_start_percent), level(sde_end_percent), eta),
            s_noise=s_noise,
            predictor_order=predictor_order,
            corrector_order=corrector_order,
            use_pece=use_pece,
            simple_order_2=simple_order_2,
        )
        return (method,)


def powered(power: float) -> NoiseScale:
    """A noise scale that is a power of the noise-to-signal ratio: 1 gives the ODE, 2 the reverse-time SDE."""

    def scale(ratio: float) -> float:
        return float(ratio**power)

    return scale


NODES = (
    KSamplerSelect,
    SamplerEulerAncestral,
    SamplerEulerAncestralCFGPP,
    SamplerLMS,
    SamplerDPMPP_3M_SDE,
    SamplerDPMPP_2M_SDE,
    SamplerDPMPP_SDE,
    SamplerDPMPP_2S_Ancestral,
    SamplerDPMAdaptative,
    SamplerER_SDE,
    SamplerSASolver,
)
