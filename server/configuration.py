"""What a server is told and by what: a TOML file, the environment, the command line; the later wins. Knows no server.

A setting has the name of its flag everywhere: `--cache-lru 20`, `WEFT_CACHE_LRU=20`, `cache-lru = 20`. The file is the
one that `WEFT_CONFIG` names, else `weft.toml` in the base directory that environment or command line give, else in the
current folder, if there is one.
"""

from __future__ import annotations

import json
import logging
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from executor.command_line import meant_flag, parse_flags
from executor.errors import UnknownName
from executor.flags import FLAGS, Flag
from executor.settings import Settings, settings_of

FILE = "weft.toml"
PREFIX = "WEFT_"
FILE_VARIABLE = "WEFT_CONFIG"
ON = frozenset({"1", "true", "yes", "on"})
OFF = frozenset({"", "0", "false", "no", "off"})
SECRETS = frozenset({"auth_token", "webhook_secret"})
HIDDEN = "(hidden)"
DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The settings that hold, where each that is no default came from, and what was accepted without effect."""

    settings: Settings
    origins: Mapping[str, str]
    ignored: Sequence[str] = ()


def read_configuration(argv: Sequence[str], environment: Mapping[str, str]) -> Configuration:
    """All three sources together. Raises SystemExit for what cannot be used, naming the source."""
    flags, ignored = parse_flags(argv)
    variables, variable_origins = _of_environment(environment)
    path = _file(environment, flags.get("base_directory", variables.get("base_directory")))
    lines = _of_file(path) if path is not None else {}
    origins = {**dict.fromkeys(lines, str(path)), **variable_origins, **dict.fromkeys(flags, "command line")}
    settings = settings_of({**lines, **variables, **flags})
    _check(settings)
    return Configuration(settings=settings, origins=origins, ignored=ignored)


def show(configuration: Configuration) -> str:
    """All settings as the lines of a weft.toml, each with its origin: defaults are comments, secrets are hidden."""
    lines: list[tuple[str, str]] = []
    for field in fields(Settings):
        flags = _flags_of(field.name)
        if rivals := next((flag.rivals for flag in flags if flag.rivals), None):
            lines += _of_rivals(field.name, rivals, configuration)
            continue
        value = getattr(configuration.settings, field.name)
        origin = configuration.origins.get(field.name, DEFAULT)
        told = [f"{_bare(flag)} = {text}" for flag in flags if (text := _shown(flag, value)) is not None]
        if field.name in SECRETS and told:
            told = [f"# {_bare(flags[0])} = {HIDDEN}"]
        elif origin == DEFAULT:
            told = [f"# {text}" for text in told]
        unset = [f"# {' or '.join(map(_bare, flags))}"] if flags else []
        lines += [(text, origin) for text in told or unset]
    width = max(len(text) for text, _ in lines)
    return "".join(f"{text:{width}}  # {origin}\n" for text, origin in lines)


def _of_rivals(field: str, rivals: str, configuration: Configuration) -> list[tuple[str, str]]:
    """What was chosen of several flags of which one holds, and the others; told at the first of their fields."""
    flags = [flag for flag in FLAGS if flag.rivals == rivals]
    if field != flags[0].field:
        return []
    chosen = next((flag for flag in flags if _is_chosen(flag, configuration.settings)), None)
    if chosen is None:
        return [(f"# {', '.join(map(_bare, flags))}", f"none of these: {rivals}")]
    origin = configuration.origins.get(chosen.field, DEFAULT)
    text = f"{_bare(chosen)} = {_shown(chosen, getattr(configuration.settings, chosen.field))}"
    others = ", ".join(_bare(flag) for flag in flags if flag is not chosen)
    return [(f"# {text}" if origin == DEFAULT else text, origin), (f"# {others}", f"or one of these: {rivals}")]


def _is_chosen(flag: Flag, settings: Settings) -> bool:
    if flag.kind is None:
        return bool(getattr(settings, flag.field) == flag.const)
    return settings.cache_mode == {"cache_size": "lru", "cache_ram_gb": "ram"}.get(flag.field)


# ---------------------------------------------------------------- the sources


def _of_environment(environment: Mapping[str, str]) -> tuple[dict[str, object], dict[str, str]]:
    known = {variable_of(flag): flag for flag in FLAGS}
    given: dict[str, object] = {}
    origins: dict[str, str] = {}
    chosen: dict[str, str] = {}
    for name in sorted(environment):
        if name in known:
            words = _words(known[name], environment[name], name)
            found, _ = parse_flags(words, prog=name)
            _refuse_rivals(known[name], words, name, chosen)
            given.update(found)
            origins.update(dict.fromkeys(found, name))
        elif name.startswith(PREFIX) and name != FILE_VARIABLE:
            meant = meant_flag("--" + name.removeprefix(PREFIX).lower().replace("_", "-"))
            if meant is not None:
                raise SystemExit(f"weft: there is no variable {name}; did you mean {PREFIX}{_upper(meant)}?")
    return given, origins


def _of_file(path: Path) -> dict[str, object]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"weft: {path} cannot be read: {error}") from error
    known = {_bare(flag): flag for flag in FLAGS}
    given: dict[str, object] = {}
    chosen: dict[str, str] = {}
    for name, value in table.items():
        flag = known.get(name.replace("_", "-"))
        if flag is None:
            raise SystemExit(f"weft: {path}: {UnknownName('setting', name, known)}")
        words = _words(flag, value, f"{path}: {name}")
        found = parse_flags(words, prog=f"weft: {path}")[0]
        _refuse_rivals(flag, words, f"{name} in {path}", chosen)
        given.update(found)
    return given


def _file(environment: Mapping[str, str], base: object) -> Path | None:
    named = environment.get(FILE_VARIABLE)
    if named:
        return Path(named)
    usual = Path(base) / FILE if isinstance(base, Path) else Path(FILE)
    return usual if usual.is_file() else None


def _words(flag: Flag, value: object, where: str) -> list[str]:
    """What would stand on the command line for a value of a variable or a file."""
    name = flag.names[0]
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, list):
        text = ",".join(map(str, value))  # as the command line has several in one word: --listen
    if flag.kind is None:
        if text.lower() in OFF:
            return []
        if text.lower() in ON:
            return [name]
        raise SystemExit(f"weft: {where}: {text!r} is neither on (true, 1) nor off (false, 0)")
    if flag.many:
        parts = value if isinstance(value, list) else text.split(os.pathsep if flag.kind is Path else ",")
        return [name, *(str(part).strip() for part in parts)] if parts and text else []
    if flag.optional_value and (value is True or text == ""):
        return [name]
    return [f"{name}={text}"]


def _refuse_rivals(flag: Flag, words: list[str], where: str, chosen: dict[str, str]) -> None:
    """End the program if one source turns on two flags of which one can hold; `chosen` is where the first stands."""
    if flag.rivals and words:
        first = chosen.setdefault(flag.rivals, where)
        if first != where:
            raise SystemExit(f"weft: {first} and {where} exclude each other: both say {flag.rivals}")


def _check(settings: Settings) -> None:
    """End the program for settings that do not go together."""
    if logging.getLevelName(settings.log_level.upper()) == f"Level {settings.log_level.upper()}":
        raise SystemExit(f"weft: --verbose: {settings.log_level!r} is no log level")
    if (settings.tls_key is None) != (settings.tls_cert is None):
        raise SystemExit("weft: --tls-keyfile and --tls-certfile need each other")


# ---------------------------------------------------------------- names


def variable_of(flag: Flag) -> str:
    """The environment variable of a flag."""
    return PREFIX + _upper(flag.names[0])


def _upper(flag: str) -> str:
    return flag.removeprefix("--").upper().replace("-", "_")


def _bare(flag: Flag) -> str:
    return flag.names[0].removeprefix("--")


def _flags_of(field: str) -> list[Flag]:
    return [flag for flag in FLAGS if flag.field == field]


def _shown(flag: Flag, value: object) -> str | None:
    """A setting's value as TOML; None where this flag does not stand for it."""
    if flag.kind is None:
        return "true" if value == flag.const and type(value) is type(flag.const) else None
    if value is None or value == ():
        return None
    if isinstance(value, tuple):
        return json.dumps([str(item) for item in value], ensure_ascii=False)
    return json.dumps(str(value), ensure_ascii=False) if isinstance(value, str | Path) else str(value)
