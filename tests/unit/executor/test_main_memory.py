"""Main memory as this process may use it, in a container and outside."""

import psutil

from executor.main_memory import main_memory_free, main_memory_total


def limited(cgroup, limit, used="900000", stat="anon 5\ninactive_file 50000\nactive_file 20000"):
    for name, text in (("memory.max", limit), ("memory.current", used), ("memory.stat", stat)):
        (cgroup / name).write_text(f"{text}\n")
    return cgroup


def test_without_a_container_it_is_the_machines(tmp_path):
    assert main_memory_total(tmp_path) == psutil.virtual_memory().total
    assert 0 < main_memory_free(tmp_path) <= psutil.virtual_memory().total


def test_a_containers_limit_counts_and_its_files_give_way(tmp_path):
    limited(tmp_path, "1000000")
    assert (main_memory_total(tmp_path), main_memory_free(tmp_path)) == (1_000_000, 170_000)


def test_a_container_without_a_limit_has_the_machines(tmp_path):
    limited(tmp_path, "max")
    assert main_memory_total(tmp_path) == psutil.virtual_memory().total
    assert main_memory_free(tmp_path) > 1_000_000


def test_a_container_above_its_limit_has_none(tmp_path):
    assert main_memory_free(limited(tmp_path, "100000")) == 0


def test_a_container_that_tells_nothing_of_its_files_counts_them_as_used(tmp_path):
    assert main_memory_free(limited(tmp_path, "1000000", stat="?")) == 100_000
