"""The command line: flags as argparse reads them, their limits, and what is said of misspelt ones."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import Any, NoReturn

from executor.flags import (
    ACCEPTED_WITHOUT_EFFECT,
    AUTOENCODERS,
    CACHE,
    FLAGS,
    KEEPING,
    KEEPING_HELP,
    MEMORY,
    NETWORKS,
    Flag,
)
from executor.keeping import keep_of

SHORTEST_START = 6  # characters of a flag that begins as one of ours does and counts as a slip of the hand
LIKENESS = 0.8  # of an unknown flag to one of ours, from which on it is a slip of the hand (difflib's ratio)

_CHOICES = (
    ("preview_method", "--preview-method", ("none", "auto", "latent2rgb", "taesd")),
    ("queue_items", "--queue-items", ("comfyui", "id-first")),
    ("log_format", "--log-format", ("text", "json")),
)

_LIMITS = (
    ("port", "--port", 0, 65535),
    ("workers", "--workers", 1, 64),
    ("max_upload_mb", "--max-upload-size", 0, 1e6),
    ("reserve_vram_gb", "--reserve-vram", 0, 1e6),
    ("cache_size", "--cache-lru", 0, 10**9),
    ("cache_ram_gb", "--cache-ram", 0, 1e6),
    ("preview_size", "--preview-size", 1, 16384),
    ("history_limit", "--history-limit", 1, 10**9),
    ("max_queue", "--max-queue", 0, 10**9),
    ("job_timeout_s", "--job-timeout", 0, 1e9),
    ("startup_wait_s", "--startup-wait", 0, 1e9),
    ("drain_timeout_s", "--drain-timeout", 0, 1e9),
)


_KEEPS = {flag.field: flag.names[0] for flag in FLAGS if flag.heading == KEEPING and flag.many}


class _Parser(argparse.ArgumentParser):
    """A parser that says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (--help lists the flags)\n")


def build_parser(prog: str = "weft") -> argparse.ArgumentParser:
    """The command line as argparse knows it, made from the flag table; `prog` names in errors where it comes from."""
    parser = _Parser(
        prog=prog,
        description="Weft: a server that runs ComfyUI workflows.",
        epilog="Beside serving: weft config, weft doctor, weft clean, weft profile WORKFLOW.json (docs/operations.md).",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    headings = {KEEPING: parser.add_argument_group(KEEPING, KEEPING_HELP)}
    rivals = {name: parser.add_mutually_exclusive_group() for name in (MEMORY, CACHE, NETWORKS, AUTOENCODERS)}
    for flag in FLAGS:
        _add(rivals[flag.rivals] if flag.rivals else headings.get(flag.heading or "", parser), flag)
    for name in ACCEPTED_WITHOUT_EFFECT:
        parser.add_argument(name, action="append_const", const=name, dest="ignored", help=argparse.SUPPRESS)
    return parser


def _refuse_misspelt(parser: argparse.ArgumentParser, strange: Sequence[str]) -> None:
    """End the program for words that belong to no flag, and for flags that are nearly one of ours."""
    if strange and not strange[0].startswith("--"):
        parser.error(f"unrecognized arguments: {' '.join(strange)}")
    for flag in (word.partition("=")[0] for word in strange if word.startswith("--")):
        near = meant_flag(flag)
        if near is not None:
            parser.error(f"there is no {flag}; did you mean {near}?")


def meant_flag(flag: str) -> str | None:
    """The flag that somebody means by one that does not exist: it begins so, or is nearly the same; None for none."""
    known = [name for flag in FLAGS for name in flag.names]
    longer = [name for name in known if len(flag) >= SHORTEST_START and name.startswith(flag)]
    return next(iter(longer or difflib.get_close_matches(flag, known, n=1, cutoff=LIKENESS)), None)


def _add(parser: argparse._ActionsContainer, flag: Flag) -> None:
    shared: dict[str, Any] = {"dest": flag.field, "help": flag.help}
    if flag.kind is None:
        parser.add_argument(*flag.names, **shared, action="store_const", const=flag.const)
        return
    shared |= {"type": flag.kind, "metavar": flag.metavar}
    if flag.many:
        shared |= {"nargs": "+", "action": "extend"}
    elif flag.optional_value:
        shared |= {"nargs": "?", "const": flag.const}
    parser.add_argument(*flag.names, **shared)


def parse_flags(argv: Sequence[str], prog: str = "weft") -> tuple[dict[str, object], list[str]]:
    """The fields that a command line sets, and the flags that were accepted without effect.

    Raises SystemExit (argparse) for a misspelt flag, a bad value or a stray word. Flags that resemble none of these are
    ComfyUI's, which has many and gets more: scripts pass them, so they are taken with their values and told as ignored.
    """
    parser = build_parser(prog)
    parsed, strange = parser.parse_known_args(argv)
    _refuse_misspelt(parser, strange)
    given = vars(parsed)
    ignored = [*given.pop("ignored", []), *strange]
    if "cache_size" in given:
        given["cache_mode"] = "lru" if given["cache_size"] else "classic"
    if "cache_ram_gb" in given:
        given["cache_mode"] = "ram"
    for name, spelling, choices in _CHOICES:
        if given.get(name, choices[0]) not in choices:
            parser.error(f"{spelling}: {given[name]!r} is none of {', '.join(choices)}")
    for name, spelling, least, most in _LIMITS:
        if name in given and not least <= given[name] <= most:  # nan is not within any limits
            parser.error(f"{spelling}: {given[name]} is not within {least:g} and {most:g}")
    for name in ("model_paths", "allowed_packs", "allowed_hosts", "allow_outbound", *_KEEPS):
        if name in given:
            given[name] = tuple(given[name])
    for name, spelling in _KEEPS.items():
        try:
            keep = keep_of(given.get(name, ()))
        except ValueError as error:
            parser.error(f"{spelling}: {error}")
        if name == "keep_history" and keep.count is not None:
            parser.error(f"{spelling} bounds age and size; --history-limit says how many prompts are remembered")
    return given, ignored
