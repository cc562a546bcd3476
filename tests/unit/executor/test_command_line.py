"""The flag table: every row sets a field, defaults hold, ComfyUI's spellings work."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pytest

from executor.command_line import parse_flags
from executor.flags import FLAGS
from executor.settings import Settings, settings_of


def parse_settings(argv: Sequence[str]) -> tuple[Settings, list[str]]:
    """Settings from a command line alone, and the flags that were accepted without effect."""
    given, ignored = parse_flags(argv)
    return settings_of(given), ignored


def test_every_flag_sets_a_field_of_settings() -> None:
    assert {flag.field for flag in FLAGS} <= {field.name for field in fields(Settings)}


def test_no_flags_give_the_defaults() -> None:
    settings, ignored = parse_settings([])
    assert (settings.host, settings.port, settings.vram_mode, ignored) == ("127.0.0.1", 8188, "auto", [])


def test_listen_alone_means_every_address() -> None:
    assert parse_settings(["--listen", "--port", "1234"])[0].host == "0.0.0.0,::"


def test_lru_with_a_size_selects_the_mode() -> None:
    settings, _ = parse_settings(["--cache-lru", "20"])
    assert (settings.cache_mode, settings.cache_size) == ("lru", 20)


def test_lru_zero_is_classic() -> None:
    assert parse_settings(["--cache-lru", "0"])[0].cache_mode == "classic"


def test_switches_without_effect_are_accepted_and_told() -> None:
    assert parse_settings(["--disable-auto-launch"])[1] == ["--disable-auto-launch"]


def test_a_misspelt_flag_ends_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_settings(["--prot", "1"])
    assert "did you mean --port?" in capsys.readouterr().err


def test_the_start_of_a_flag_ends_the_program_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_settings(["--base-dir", "x"])
    assert "did you mean --base-directory?" in capsys.readouterr().err


def test_a_stray_word_ends_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_settings(["--cpu", "word"])
    assert "word" in capsys.readouterr().err


def test_flags_of_other_servers_are_accepted_with_their_values_and_told() -> None:
    settings, ignored = parse_settings(["--database-url", "sqlite:///x", "--cpu-vae", "--port", "9"])
    assert (settings.port, ignored) == (9, ["--database-url", "sqlite:///x", "--cpu-vae"])


def test_a_wrong_preview_method_names_the_choices(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_settings(["--preview-method", "tasd"])
    assert "taesd" in capsys.readouterr().err


def test_a_wrong_form_of_queue_items_names_the_choices(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_settings(["--queue-items", "first"])
    assert "id-first" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [
        ("--port", "65536"),
        ("--port", "-1"),
        ("--workers", "0"),
        ("--cache-lru", "-3"),
        ("--preview-size", "0"),
        ("--max-upload-size", "nan"),
        ("--startup-wait", "-1"),
    ],
)
def test_a_number_out_of_its_limits_names_the_flag(flags: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_settings(flags)
    told = capsys.readouterr().err
    assert f"error: {flags[0]}: {flags[1]}" in told
    assert "is not within" in told


def test_folders_default_to_the_base_directory(tmp_path: Path) -> None:
    settings, _ = parse_settings(["--base-directory", str(tmp_path), "--input-directory", str(tmp_path / "pictures")])
    assert (settings.folder("output"), settings.folder("input")) == (tmp_path / "output", tmp_path / "pictures")


def test_the_temp_folder_lies_below_the_given_one(tmp_path: Path) -> None:
    assert parse_settings(["--temp-directory", str(tmp_path)])[0].folder("temp") == tmp_path / "temp"
