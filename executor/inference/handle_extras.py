"""What packs attach to a MODEL: wrappers, callbacks, further models, injections, anything by name. Knows no weights.

Names and arguments are the ecosystem's (reference/custom_node_surface.md, "Object protocols").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from executor.inference.wrappers import ON_EJECT_MODEL, ON_INJECT_MODEL, Function, Keyed, add


class ModelExtras:
    """Tables of what is attached."""

    wrappers: Keyed
    callbacks: Keyed
    attachments: dict[str, object]
    additional_models: dict[str, list[object]]
    injections: dict[str, list[object]]

    # ---------------------------------------------------------------- wrappers and callbacks

    def add_wrapper(self, wrapper_type: str, wrapper: Function) -> None:
        """Put a wrapper around a moment of sampling."""
        self.add_wrapper_with_key(wrapper_type, None, wrapper)

    def add_wrapper_with_key(self, wrapper_type: str, key: str | None, wrapper: Function) -> None:
        """Put a wrapper around a moment of sampling, under a key to take it off by."""
        add(self.wrappers, wrapper_type, key, wrapper)

    def remove_wrappers_with_key(self, wrapper_type: str, key: str | None) -> None:
        """Take a key's wrappers off."""
        self.wrappers.get(wrapper_type, {}).pop(key, None)

    def get_wrappers(self, wrapper_type: str, key: str | None = None) -> list[Function]:
        """The wrappers under a key."""
        return self.wrappers.get(wrapper_type, {}).get(key, [])

    def get_all_wrappers(self, wrapper_type: str) -> list[Function]:
        """All wrappers of a kind."""
        return [each for listed in self.wrappers.get(wrapper_type, {}).values() for each in listed]

    def add_callback(self, call_type: str, callback: Function) -> None:
        """Have a function called at a moment of the MODEL's life."""
        self.add_callback_with_key(call_type, None, callback)

    def add_callback_with_key(self, call_type: str, key: str | None, callback: Function) -> None:
        """Have a function called at a moment of the MODEL's life, under a key to take it off by."""
        add(self.callbacks, call_type, key, callback)

    def remove_callbacks_with_key(self, call_type: str, key: str | None) -> None:
        """Take a key's callbacks off."""
        self.callbacks.get(call_type, {}).pop(key, None)

    def get_callbacks(self, call_type: str, key: str | None = None) -> list[Function]:
        """The callbacks under a key."""
        return self.callbacks.get(call_type, {}).get(key, [])

    def get_all_callbacks(self, call_type: str) -> list[Function]:
        """All callbacks of a kind."""
        return [each for listed in self.callbacks.get(call_type, {}).values() for each in listed]

    # ---------------------------------------------------------------- objects by name

    def set_attachments(self, key: str, attachment: object) -> None:
        """Attach anything under a key; what has `on_model_patcher_clone` is asked when the MODEL is cloned."""
        self.attachments[key] = attachment

    def get_attachment(self, key: str) -> object:
        """What is attached under a key, or None."""
        return self.attachments.get(key)

    def remove_attachments(self, key: str) -> None:
        """Take what is under a key off."""
        self.attachments.pop(key, None)

    def set_additional_models(self, key: str, models: Sequence[object]) -> None:
        """Have further MODELs loaded along."""
        self.additional_models[key] = list(models)

    def get_additional_models_with_key(self, key: str) -> list[object]:
        """The further MODELs under a key."""
        return self.additional_models.get(key, [])

    def remove_additional_models(self, key: str) -> None:
        """Take a key's further MODELs off."""
        self.additional_models.pop(key, None)

    def get_additional_models(self) -> list[object]:
        """All further MODELs."""
        return [model for models in self.additional_models.values() for model in models]

    def get_nested_additional_models(self) -> list[object]:
        """Every further model, and theirs."""
        found: list[object] = []
        for each in self.get_additional_models():
            found += [each, *(each.get_nested_additional_models() if isinstance(each, ModelExtras) else [])]
        return found

    def set_injections(self, key: str, injections: Sequence[object]) -> None:
        """Have objects put themselves into the network before sampling and out after it (`inject`, `eject`)."""
        self.injections[key] = list(injections)

    def get_injections(self, key: str) -> list[object] | None:
        """The injections under a key, or None."""
        return self.injections.get(key)

    def remove_injections(self, key: str) -> None:
        """Take a key's injections off."""
        self.injections.pop(key, None)

    def inject_model(self) -> None:
        """Let every injection put itself in."""
        for each in self._injections():
            each.inject(self)
        self._call_back(ON_INJECT_MODEL)

    def eject_model(self) -> None:
        """Let every injection take itself out, the last one first."""
        for each in reversed(self._injections()):
            each.eject(self)
        self._call_back(ON_EJECT_MODEL)

    def _injections(self) -> list[Any]:
        return [cast(Any, each) for listed in self.injections.values() for each in listed]

    def _call_back(self, call_type: str, *args: object) -> None:
        for callback in self.get_all_callbacks(call_type):
            callback(self, *args)

    def _copy_extras_to(self, other: ModelExtras) -> None:
        for table in ("wrappers", "callbacks"):
            copied = {
                kind: {key: list(listed) for key, listed in keyed.items()}
                for kind, keyed in getattr(self, table).items()
            }
            setattr(other, table, copied)
        for name, attachment in self.attachments.items():
            on_clone = getattr(attachment, "on_model_patcher_clone", None)
            other.attachments[name] = on_clone() if callable(on_clone) else attachment
        other.additional_models = {key: list(models) for key, models in self.additional_models.items()}
        other.injections = {key: list(listed) for key, listed in self.injections.items()}
