"""Lets networks stop between their layers."""

import torch

from executor import context as running


def stop_if_asked() -> None:
    """Raise Interrupted when the user stopped the prompt: layers of huge pictures take minutes each."""
    if not torch.compiler.is_compiling():
        running.current().check_interrupt()
