"""Nodes of VideoHelperSuite that split, join, repeat and pick batches of pictures, latents and masks.

Where the pack itself is installed, its own nodes are used (reference/vhs_video_combine.md section 5).
"""

from __future__ import annotations

from typing import ClassVar

from executor.errors import NodeInputError
from executor.inference.batches import STRATEGIES, Batch, merged, numbers_of, taken, values_of
from nodes.builtin.inputs import (
    CROP_METHODS,
    LATENT_RESIZE_METHODS,
    RESIZE_METHODS,
    InputTypes,
    choice,
    flag,
    integer,
    socket,
    text,
)
from nodes.builtin.video_formats import CATEGORY, PACK
from nodes.builtin.video_load import LARGEST

MOST = 100_000  # items in a batch
FIELDS = {"IMAGE": "images", "LATENT": "latents", "MASK": "mask"}


class BatchNode:
    """What the nodes below share: the kind of batch that they take."""

    PACK: ClassVar[str] = PACK
    KIND: ClassVar[str] = "IMAGE"

    @classmethod
    def field(cls) -> str:
        """The name of the input that takes the batch."""
        return FIELDS[cls.KIND]

    def _given(self, batches: dict[str, Batch]) -> Batch:
        batch = batches.get(self.field())
        if batch is None:
            raise NodeInputError(f"input {self.field()!r}: nothing is linked")
        return batch


class SplitBatch(BatchNode):
    """Cuts a batch in two."""

    RETURN_NAMES: ClassVar[tuple[str, ...]]
    FUNCTION = "split"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        index = integer(0, -LARGEST, LARGEST, step=1)
        return {"required": {cls.field(): socket(cls.KIND), "split_index": index}}

    def split(self, split_index: int, **batches: Batch) -> tuple[Batch, int, Batch, int]:
        """What is before a place and what is from it on, each with its number; negative places count from the end."""
        batch = self._given(batches)
        numbers = list(range(len(values_of(batch))))
        before, after = numbers[:split_index], numbers[split_index:]
        return taken(batch, before), len(before), taken(batch, after), len(after)


class MergeBatches(BatchNode):
    """Joins two batches at one size."""

    RETURN_NAMES: ClassVar[tuple[str, ...]]
    FUNCTION = "merge"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        methods = LATENT_RESIZE_METHODS if cls.KIND == "LATENT" else RESIZE_METHODS
        return {
            "required": {
                f"{cls.field()}_A": socket(cls.KIND),
                f"{cls.field()}_B": socket(cls.KIND),
                "merge_strategy": choice(STRATEGIES),
                "scale_method": choice(methods),
                "crop": choice(CROP_METHODS),
            }
        }

    def merge(self, merge_strategy: str, scale_method: str, crop: str, **batches: Batch) -> tuple[Batch, int]:
        """The first batch, then the second one, and how many items there are."""
        first, second = (batches[f"{self.field()}_{side}"] for side in "AB")
        joined = merged(first, second, merge_strategy, scale_method, crop)
        return joined, len(values_of(joined))


class CountBatch(BatchNode):
    """Counts the items of a batch."""

    RETURN_TYPES = ("INT",)
    RETURN_NAMES = ("count",)
    FUNCTION = "count_items"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {cls.field(): socket(cls.KIND)}}

    def count_items(self, **batches: Batch) -> tuple[int]:
        """How many there are."""
        return (len(values_of(self._given(batches))),)


class EveryNth(BatchNode):
    """Takes every nth item of a batch."""

    RETURN_NAMES: ClassVar[tuple[str, ...]]
    FUNCTION = "select"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                cls.field(): socket(cls.KIND),
                "select_every_nth": integer(1, 1, LARGEST, step=1),
                "skip_first": integer(0, 0, LARGEST, step=1),
            }
        }

    def select(self, select_every_nth: int, skip_first: int = 0, **batches: Batch) -> tuple[Batch, int]:
        """The items from one on, in steps, and how many they are."""
        batch = self._given(batches)
        numbers = list(range(len(values_of(batch))))[skip_first :: max(1, select_every_nth)]
        return taken(batch, numbers), len(numbers)


class RepeatBatch(BatchNode):
    """Repeats a batch."""

    RETURN_NAMES: ClassVar[tuple[str, ...]]
    FUNCTION = "duplicate"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {cls.field(): socket(cls.KIND), "multiply_by": integer(1, 1, LARGEST, step=1)}}

    def duplicate(self, multiply_by: int, **batches: Batch) -> tuple[Batch, int]:
        """The whole batch so many times, and how many items there are."""
        batch = self._given(batches)
        count = len(values_of(batch)) * multiply_by
        if count > MOST:
            raise NodeInputError(f"input 'multiply_by': {multiply_by} would make {count} items; {MOST} are the most")
        numbers = list(range(len(values_of(batch)))) * multiply_by
        return taken(batch, numbers), len(numbers)


class PickItems(BatchNode):
    """Picks items of a batch by their places."""

    FUNCTION = "select"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                cls.field(): socket(cls.KIND),
                "indexes": text(default="0", tooltip="Places and ranges: 0,2,5:8,-1"),
                "err_if_missing": flag(default=True),
                "err_if_empty": flag(default=True),
            }
        }

    def select(
        self, indexes: str, err_if_missing: bool = True, err_if_empty: bool = True, **batches: Batch
    ) -> tuple[Batch]:
        """The picked items in the order of the text; NodeInputError for missing or no items, as the flags say."""
        batch = self._given(batches)
        numbers = numbers_of(indexes, len(values_of(batch)), must_exist=err_if_missing)
        if not numbers and err_if_empty:
            raise NodeInputError(f"input 'indexes': {indexes!r} picks nothing of {len(values_of(batch))} items")
        return (taken(batch, numbers),)


def _kinds(base: type[BatchNode], name: str, shown: str, returns: str) -> list[type[BatchNode]]:
    """A node class for each kind of batch; in `returns`, `#` stands for the kind."""
    made = []
    for kind, word in (("IMAGE", "Image"), ("LATENT", "Latent"), ("MASK", "Mask")):
        attributes: dict[str, object] = {
            "__doc__": base.__doc__,
            "__module__": __name__,
            "KIND": kind,
            "CATEGORY": f"{CATEGORY}/{word.lower()}",
            "DISPLAY_NAME": f"{shown.format(word=word)} 🎥🅥🅗🅢",
        }
        if returns:
            names = tuple(part.replace("#", kind) for part in returns.split())
            attributes["RETURN_NAMES"] = names
            attributes["RETURN_TYPES"] = tuple("INT" if part.endswith("count") else kind for part in names)
        made.append(type(f"VHS_{name.format(word=word)}", (base,), attributes))
    return made


NODES = (
    *_kinds(SplitBatch, "Split{word}s", "Split {word}s", "#_A A_count #_B B_count"),
    *_kinds(MergeBatches, "Merge{word}s", "Merge {word}s", "# count"),
    *_kinds(CountBatch, "Get{word}Count", "Get {word} Count", ""),
    *_kinds(EveryNth, "SelectEveryNth{word}", "Select Every Nth {word}", "# count"),
    *_kinds(RepeatBatch, "Duplicate{word}s", "Repeat {word}s", "# count"),
    *_kinds(PickItems, "Select{word}s", "Select {word}s", "#"),
)
