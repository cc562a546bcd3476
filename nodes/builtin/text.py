"""Nodes that join, cut, search and change texts. Know nothing else."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from nodes.builtin.inputs import InputTypes, combo, flag, integer, text

LINES = text(multiline=True)
CASES: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {"UPPERCASE": str.upper, "lowercase": str.lower, "Capitalize": str.capitalize, "Title Case": str.title}
)
TRIMS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {"Both": str.strip, "Left": str.lstrip, "Right": str.rstrip}
)
COMPARISONS: Mapping[str, Callable[[str, str], bool]] = MappingProxyType(
    {"Starts With": str.startswith, "Ends With": str.endswith, "Equal": str.__eq__}
)


class _TextNode:
    LISTING = "v3"
    PACK = "comfy_extras.nodes_string"
    CATEGORY = "utils/string"
    RETURN_TYPES: tuple[str, ...] = ("STRING",)
    FUNCTION = "execute"


class StringConcatenate(_TextNode):
    """Joins two texts."""

    DISPLAY_NAME = "Concatenate"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        between = text(multiline=False, default="")
        return {"required": {"string_a": LINES, "string_b": LINES, "delimiter": between}}

    def execute(self, string_a: str, string_b: str, delimiter: str) -> tuple[str]:
        """Both, with the delimiter between them."""
        return (delimiter.join((string_a, string_b)),)


class StringSubstring(_TextNode):
    """Cuts a piece out of a text."""

    DISPLAY_NAME = "Substring"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"string": LINES, "start": ("INT", {}), "end": ("INT", {})}}

    def execute(self, string: str, start: int, end: int) -> tuple[str]:
        """The characters from `start` to before `end`, counted as Python does."""
        return (string[start:end],)


class StringLength(_TextNode):
    """Counts characters."""

    DISPLAY_NAME = "Length"
    RETURN_TYPES = ("INT",)
    RETURN_NAMES = ("length",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"string": LINES}}

    def execute(self, string: str) -> tuple[int]:
        """The number of characters."""
        return (len(string),)


class CaseConverter(_TextNode):
    """Changes capitals."""

    DISPLAY_NAME = "Case Converter"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"string": LINES, "mode": combo(list(CASES))}}

    def execute(self, string: str, mode: str) -> tuple[str]:
        """The text in capitals as chosen."""
        return (CASES[mode](string),)


class StringTrim(_TextNode):
    """Takes blanks off the ends."""

    DISPLAY_NAME = "Trim"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"string": LINES, "mode": combo(list(TRIMS))}}

    def execute(self, string: str, mode: str) -> tuple[str]:
        """The text without blanks at the chosen ends."""
        return (TRIMS[mode](string),)


class StringReplace(_TextNode):
    """Replaces a piece of text wherever it stands."""

    DISPLAY_NAME = "Replace"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"string": LINES, "find": LINES, "replace": LINES}}

    def execute(self, string: str, find: str, replace: str) -> tuple[str]:
        """The text with every `find` replaced."""
        return (string.replace(find, replace),)


class StringContains(_TextNode):
    """Tells whether a piece of text is there."""

    DISPLAY_NAME = "Contains"
    RETURN_TYPES = ("BOOLEAN",)
    RETURN_NAMES = ("contains",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"string": LINES, "substring": LINES, "case_sensitive": flag(default=True)}}

    def execute(self, string: str, substring: str, case_sensitive: bool) -> tuple[bool]:
        """True if it is found."""
        return (_folded(substring, case_sensitive) in _folded(string, case_sensitive),)


class StringCompare(_TextNode):
    """Compares two texts."""

    DISPLAY_NAME = "Compare"
    RETURN_TYPES = ("BOOLEAN",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        mode = combo(list(COMPARISONS))
        return {"required": {"string_a": LINES, "string_b": LINES, "mode": mode, "case_sensitive": flag(default=True)}}

    def execute(self, string_a: str, string_b: str, mode: str, case_sensitive: bool) -> tuple[bool]:
        """True if the first begins with, ends with or equals the second."""
        return (COMPARISONS[mode](_folded(string_a, case_sensitive), _folded(string_b, case_sensitive)),)


def _folded(string: str, case_sensitive: bool) -> str:
    return string if case_sensitive else string.lower()


# ---------------------------------------------------------------- patterns


def compiled(pattern: str, case_insensitive: bool, multiline: bool, dotall: bool) -> re.Pattern[str]:
    """The pattern with its options; ValueError that names the input when it is none."""
    options = re.IGNORECASE * case_insensitive | re.MULTILINE * multiline | re.DOTALL * dotall
    try:
        return re.compile(pattern, options)
    except re.error as error:
        raise ValueError(f"input 'regex_pattern': {pattern!r} is no regular expression: {error}") from error


PATTERN_OPTIONS = {
    "case_insensitive": flag(default=True),
    "multiline": flag(default=False),
    "dotall": flag(default=False),
}


class RegexMatch(_TextNode):
    """Tells whether a pattern is found in a text."""

    DISPLAY_NAME = "Regex Match"
    RETURN_TYPES = ("BOOLEAN",)
    RETURN_NAMES = ("matches",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"string": LINES, "regex_pattern": LINES, **PATTERN_OPTIONS}}

    def execute(
        self, string: str, regex_pattern: str, case_insensitive: bool, multiline: bool, dotall: bool
    ) -> tuple[bool]:
        """True if it is found anywhere."""
        return (compiled(regex_pattern, case_insensitive, multiline, dotall).search(string) is not None,)


class RegexExtract(_TextNode):
    """Takes out of a text what a pattern finds."""

    DISPLAY_NAME = "Regex Extract"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        mode = combo(["First Match", "All Matches", "First Group", "All Groups"])
        return {
            "required": {
                "string": LINES,
                "regex_pattern": LINES,
                "mode": mode,
                **PATTERN_OPTIONS,
                "group_index": integer(1, 0, 100),
            }
        }

    def execute(
        self,
        string: str,
        regex_pattern: str,
        mode: str,
        case_insensitive: bool,
        multiline: bool,
        dotall: bool,
        group_index: int,
    ) -> tuple[str]:
        """The first find, or all a line each; whole or one group of it. Nothing found gives an empty text."""
        pattern = compiled(regex_pattern, case_insensitive, multiline, dotall)
        group = group_index if mode.endswith("Group") or mode.endswith("Groups") else 0
        if group > pattern.groups:
            return ("",)
        found = [match[group] or "" for match in pattern.finditer(string)]
        return ("\n".join(found[:1] if mode.startswith("First") else found),)


class RegexReplace(_TextNode):
    """Replaces what a pattern finds in a text."""

    DISPLAY_NAME = "Regex Replace"
    DESCRIPTION = "Replaces what a regular expression finds."

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        most = integer(0, 0, 100, tooltip="How many finds to replace; 0 for all.")
        return {
            "required": {"string": LINES, "regex_pattern": LINES, "replace": LINES},
            "optional": {**PATTERN_OPTIONS, "count": most},
        }

    def execute(
        self,
        string: str,
        regex_pattern: str,
        replace: str,
        case_insensitive: bool = True,
        multiline: bool = False,
        dotall: bool = False,
        count: int = 0,
    ) -> tuple[str]:
        r"""The text with finds replaced; \1 … in `replace` stand for groups."""
        return (compiled(regex_pattern, case_insensitive, multiline, dotall).sub(replace, string, count=count),)


NODES = (
    StringConcatenate,
    StringSubstring,
    StringLength,
    CaseConverter,
    StringTrim,
    StringReplace,
    StringContains,
    StringCompare,
    RegexMatch,
    RegexExtract,
    RegexReplace,
)
