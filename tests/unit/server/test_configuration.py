"""What a server is told by a file, the environment and the command line, and what of it holds."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from executor.command_line import build_parser
from executor.flags import FLAGS
from server.commands import COMMANDS
from server.configuration import read_configuration, show, variable_of


def test_flags_become_settings():
    told = read_configuration(["--port", "9", "--listen", "--auto-launch"], {})
    assert (told.settings.port, told.settings.host, told.ignored) == (9, "0.0.0.0,::", ["--auto-launch"])


@pytest.mark.parametrize("argv", [["--verbose", "LOUD"], ["--tls-keyfile", "k"], ["--lissten"], ["--port", "x"]])
def test_bad_command_line_ends_the_program(argv):
    with pytest.raises(SystemExit):
        read_configuration(argv, {})


def written(folder: Path, text: str) -> list[str]:
    (folder / "weft.toml").write_text(text, encoding="utf-8")
    return ["--base-directory", str(folder)]


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path):
    argv = written(tmp_path, "port = 1\nworkers = 2\nhistory-limit = 3\n")
    told = read_configuration([*argv, "--port", "10"], {"WEFT_PORT": "11", "WEFT_WORKERS": "12"})
    settings = told.settings
    assert (settings.port, settings.workers, settings.history_limit) == (10, 12, 3)
    assert {name: told.origins[name] for name in ("port", "workers", "history_limit")} == {
        "port": "command line",
        "workers": "WEFT_WORKERS",
        "history_limit": str(tmp_path / "weft.toml"),
    }


def test_a_file_is_named_by_the_environment(tmp_path: Path):
    (tmp_path / "mine.toml").write_text("cache-lru = 7")
    assert read_configuration([], {"WEFT_CONFIG": str(tmp_path / "mine.toml")}).settings.cache_mode == "lru"


@pytest.mark.parametrize(("word", "is_on"), [("1", True), ("true", True), ("0", False), ("", False), ("off", False)])
def test_a_switch_is_turned_by_a_word(word: str, is_on: bool):
    assert read_configuration([], {"WEFT_MULTI_USER": word}).settings.multi_user is is_on


def test_switches_of_a_file_are_booleans(tmp_path: Path):
    settings = read_configuration(written(tmp_path, "cpu = true\nmulti_user = false\nlisten = true\n"), {}).settings
    assert (settings.vram_mode, settings.multi_user, settings.host) == ("cpu", False, "0.0.0.0,::")


def test_lists_are_split_in_the_environment_and_lists_in_a_file(tmp_path: Path):
    told = read_configuration(
        written(tmp_path, 'extra-model-paths-config = ["a.yaml", "b.yaml"]'),
        {"WEFT_WHITELIST_CUSTOM_NODES": "one, two"},
    )
    assert told.settings.allowed_packs == ("one", "two")
    assert told.settings.model_paths == (Path("a.yaml"), Path("b.yaml"))


def test_a_list_of_a_file_may_stand_where_the_command_line_has_commas(tmp_path: Path):
    told = read_configuration(written(tmp_path, 'listen = ["127.0.0.1", "::1"]'), {})
    assert told.settings.host == "127.0.0.1,::1"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"WEFT_PORT": "x"}, "WEFT_PORT"),
        ({"WEFT_MULTI_USER": "perhaps"}, "WEFT_MULTI_USER"),
        ({"WEFT_WORKERS": "0"}, "WEFT_WORKERS"),
    ],
)
def test_a_variable_that_cannot_be_used_ends_the_program_with_its_name(
    variables: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        read_configuration([], variables)
    assert said in capsys.readouterr().err + str(ended.value)


def test_a_variable_that_is_nearly_one_of_ours_ends_the_program():
    with pytest.raises(SystemExit, match=r"did you mean WEFT_PORT\?"):
        read_configuration([], {"WEFT_PROT": "1"})


def test_variables_of_other_programs_are_let_be():
    variables = {"WEFT_TEST_LOADER": "x", "WEFT_OLD_FRONT_END": "/x", "WEFT_SCREENSHOT": "1", "WEFT_FULL_DIR": "/y"}
    assert read_configuration([], variables).origins == {}


@pytest.mark.parametrize(
    ("text", "said"), [("prot = 1", "did you mean 'port'"), ("port = [", "cannot be read"), ('port = "x"', "port")]
)
def test_a_file_that_cannot_be_used_ends_the_program_with_its_name(
    tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        read_configuration(written(tmp_path, text), {})
    message = capsys.readouterr().err + str(ended.value)
    assert said in message
    assert "weft.toml" in message


def test_each_flag_has_a_variable_of_its_own():
    assert len({variable_of(flag) for flag in FLAGS}) == len(FLAGS)


def test_what_is_shown_is_a_file_that_says_the_same(tmp_path: Path):
    told = read_configuration(["--port", "9", "--cpu", "--cache-ram", "2", "--whitelist-custom-nodes", "a", "b"], {})
    (tmp_path / "shown.toml").write_text(show(told), encoding="utf-8")
    assert read_configuration([], {"WEFT_CONFIG": str(tmp_path / "shown.toml")}).settings == told.settings


def test_secrets_are_not_shown():
    text = show(read_configuration([], {"WEFT_AUTH_TOKEN": "a-secret-of-the-server"}))
    assert "a-secret" not in text
    assert "auth-token = (hidden)" in text
    assert tomllib.loads(text).get("auth-token") is None


@pytest.mark.parametrize(
    ("first", "second"), [("--highvram", "--lowvram"), ("--cache-none", "--cache-ram"), ("--cpu", "--gpu-only")]
)
def test_two_flags_of_which_one_can_hold_are_refused_by_name(first, second, capsys):
    with pytest.raises(SystemExit):
        read_configuration([first, second], {})
    told = capsys.readouterr().err
    assert first in told
    assert second in told


def test_two_variables_of_which_one_can_hold_are_refused_by_name():
    with pytest.raises(SystemExit, match="WEFT_CACHE_LRU and WEFT_CACHE_NONE exclude each other"):
        read_configuration([], {"WEFT_CACHE_NONE": "1", "WEFT_CACHE_LRU": "3"})


def test_two_lines_of_which_one_can_hold_are_refused_by_name_and_file(tmp_path: Path):
    with pytest.raises(SystemExit, match=r"highvram in .*weft.toml and cpu in .*weft.toml exclude each other"):
        read_configuration(written(tmp_path, "highvram = true\ncpu = true\n"), {})


def test_a_switch_that_is_off_is_no_rival():
    assert read_configuration([], {"WEFT_CPU": "0", "WEFT_LOWVRAM": "1"}).settings.vram_mode == "low"


def test_between_sources_the_stronger_one_chooses(tmp_path: Path):
    argv = written(tmp_path, "lowvram = true\ncache-lru = 9\n")
    settings = read_configuration([*argv, "--cpu", "--cache-lru", "0"], {"WEFT_CACHE_NONE": "1"}).settings
    assert (settings.vram_mode, settings.cache_mode) == ("cpu", "classic")


@pytest.mark.parametrize(
    ("argv", "chosen"),
    [
        ([], "# cache-classic = true"),
        (["--cache-none"], "cache-none = true"),
        (["--cache-lru", "5"], "cache-lru = 5"),
        (["--cache-ram"], "cache-ram = 4.0"),
    ],
)
def test_of_rivals_the_one_that_holds_is_shown_and_the_others_as_such(argv, chosen):
    lines = [line for line in show(read_configuration(argv, {})).splitlines() if "cache-" in line]
    assert len(lines) == 2
    assert lines[0].startswith(chosen + " ")
    assert "or one of these" in lines[1]
    assert chosen.strip("# ").partition(" ")[0] not in lines[1]


def test_of_rivals_of_which_none_holds_all_are_shown_as_such():
    (line,) = [line for line in show(read_configuration([], {})).splitlines() if "bf16-unet" in line]
    assert line.startswith("# ")
    assert "none of these" in line
    (chosen, others) = [line for line in show(read_configuration(["--bf16-unet"], {})).splitlines() if "-unet" in line]
    assert chosen.startswith("bf16-unet = true ")
    assert "or one of these" in others


def test_bounds_of_what_is_kept_come_from_every_source(tmp_path: Path):
    told = read_configuration(
        [*written(tmp_path, 'keep-temp = ["2d", "1GB"]\nkeep-history = "9d"\n'), "--keep-outputs", "30d", "20GB"],
        {"WEFT_KEEP_INPUTS": "3d,5000files"},
    ).settings
    assert (told.keep_outputs, told.keep_temp) == (("30d", "20GB"), ("2d", "1GB"))
    assert (told.keep_inputs, told.keep_history) == (("3d", "5000files"), ("9d",))


@pytest.mark.parametrize(
    ("argv", "words"),
    [(["--keep-outputs", "7"], "'7' is no bound; write 30d"), (["--keep-history", "9files"], "--history-limit says")],
)
def test_bounds_that_are_none_are_refused_with_words(argv, words, capsys):
    with pytest.raises(SystemExit):
        read_configuration(argv, {})
    assert words in capsys.readouterr().err


def test_the_help_names_every_command():
    text = " ".join(build_parser().format_help().split())
    assert [name for name in COMMANDS if f"weft {name}" not in text] == []
