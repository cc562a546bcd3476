"""Where the front end's files are looked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from executor.command_line import parse_flags
from executor.errors import FrontEndMissing
from executor.settings import Settings, settings_of
from server.webroot import OWN_TEMPLATES, UNPACKED, WebRoot, find_web_root

WISH = "comfyanonymous/ComfyUI_frontend@"


def put(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all there is to import from."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    sys.path_importer_cache.clear()
    return tmp_path


def package(site: Path, name: str) -> Path:
    put(site / name / "__init__.py", "raise RuntimeError('this package is never to be imported')")
    return site / name


def test_the_installed_package_is_found_and_not_imported(site):
    index = put(package(site, "comfyui_frontend_package") / "static" / "index.html")
    assert find_web_root(Settings(base_directory=site)).page("index.html") == index
    assert "comfyui_frontend_package" not in sys.modules


def test_without_packages_there_is_nothing_but_the_demos_template(site):
    root = find_web_root(Settings(base_directory=site))
    assert (root.pages, root.documents, root.templates) == (None, None, (OWN_TEMPLATES,))


def test_templates_lie_in_the_package_or_in_its_parts(site):
    first = put(package(site, "comfyui_workflow_templates") / "templates" / "index.json")
    second = put(package(site, "comfyui_workflow_templates_media_image") / "templates" / "a-1.webp")
    root = find_web_root(Settings(base_directory=site))
    assert (root.template("index.json"), root.template("a-1.webp"), root.template("b")) == (first, second, None)


def test_a_list_of_templates_in_a_language_that_is_not_there_is_the_english_one(site):
    english = put(package(site, "comfyui_workflow_templates") / "templates" / "index.json")
    chinese = put(english.with_name("index.zh.json"))
    root = find_web_root(Settings(base_directory=site))
    assert (root.template("index.zh.json"), root.template("index.xx.json")) == (chinese, english)
    assert root.template("index_logo.json") is None


def test_help_lies_in_its_package(site):
    page = put(package(site, "comfyui_embedded_docs") / "docs" / "KSampler" / "en.md")
    assert find_web_root(Settings(base_directory=site)).document("KSampler/en.md") == page


def test_a_chosen_folder_wins_over_the_package(site):
    put(package(site, "comfyui_frontend_package") / "static" / "index.html")
    chosen = put(site / "mine" / "index.html").parent
    assert find_web_root(Settings(base_directory=site, front_end_root=chosen)).pages == chosen


def test_a_folder_without_a_front_end_is_refused(tmp_path):
    with pytest.raises(FrontEndMissing, match=r"no index\.html"):
        find_web_root(Settings(base_directory=tmp_path, front_end_root=tmp_path))


@pytest.mark.parametrize("wish", [WISH + "1.27.10", WISH + "v1.27.10", "1.27.10", "Comfy-Org/ComfyUI_frontend@1.27.10"])
def test_a_version_is_found_where_it_was_unpacked(tmp_path, wish):
    folder = put(tmp_path / UNPACKED / "Comfy-Org_ComfyUI_frontend" / "1.27.10" / "index.html").parent
    assert find_web_root(Settings(base_directory=tmp_path, front_end_version=wish)).pages == folder


def test_the_latest_version_is_the_newest_that_is_here(site):
    for version in ("1.9.2", "1.10.0"):
        put(site / UNPACKED / "comfyanonymous_ComfyUI_frontend" / version / "index.html")
    found = find_web_root(Settings(base_directory=site, front_end_version=WISH + "latest"))
    assert found.pages.name == "1.10.0"


def test_a_fork_is_not_taken_for_the_front_end(tmp_path):
    put(tmp_path / UNPACKED / "other_fork" / "9.9.1" / "index.html")
    fork = find_web_root(Settings(base_directory=tmp_path, front_end_version="other/fork@9.9.1"))
    assert fork.page("index.html")
    with pytest.raises(FrontEndMissing):
        find_web_root(Settings(base_directory=tmp_path, front_end_version=WISH + "9.9.1"))


def test_a_version_that_is_not_here_is_refused_with_what_is(site):
    put(site / UNPACKED / "comfyanonymous_ComfyUI_frontend" / "1.9.2" / "index.html")
    with pytest.raises(FrontEndMissing, match=r"1\.20\.0: not here \(here: 1\.9\.2\)"):
        find_web_root(Settings(base_directory=site, front_end_version=WISH + "1.20.0"))


def test_a_malformed_version_is_refused(tmp_path):
    with pytest.raises(FrontEndMissing, match="form"):
        find_web_root(Settings(base_directory=tmp_path, front_end_version="newest please"))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret", "", ".", "a\0b", "x" * 5000])
def test_no_name_leads_outside(tmp_path, name):
    put(tmp_path / "secret")
    put(tmp_path / "pages" / "index.html")
    root = WebRoot(pages=tmp_path / "pages", templates=(tmp_path / "pages",), documents=tmp_path / "pages")
    assert (root.page(name), root.template(name), root.document(name)) == (None, None, None)


def test_extension_scripts_are_listed_by_address(tmp_path):
    for name in ("core/b.js", "a.js", "core/c.css"):
        put(tmp_path / "extensions" / name)
    assert WebRoot(pages=tmp_path).extensions() == ["/extensions/a.js", "/extensions/core/b.js"]


def test_flags_choose_a_front_end():
    settings = settings_of(parse_flags(["--front-end-root", "/x", "--front-end-version", WISH + "1.2.3"])[0])
    assert (settings.front_end_root, settings.front_end_version) == (Path("/x"), WISH + "1.2.3")
