"""What the repository says it needs is what it needs."""

import importlib.metadata
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from tests.repository.files import ROOT, read, texts

#: programs that Debian packages bring, by the name under which code calls them
PROGRAMS = {
    "kamailio": "kamailio",
    "rtpengine": "rtpengine-daemon",
    "initdb": "postgresql-15",
    "pg_ctl": "postgresql-15",
    "postgres": "postgresql-15",
    "sipp": "sip-tester",
    "tshark": "tshark",
    "ffmpeg": "ffmpeg",
    "ffprobe": "ffmpeg",
    "chromium": "chromium",
    "sngrep": "sngrep",
    "sox": "sox",
    "curl": "curl",
    "jq": "jq",
    "openssl": "openssl",
    "espeak-ng": "espeak-ng",
    "pdftotext": "poppler-utils",
    "pdffonts": "poppler-utils",
    "git": "git",
    "redis-server": "redis-server",
}


def listed(group: str) -> list[str]:
    """The packages of one list in scripts/install.sh."""
    match = re.search(rf"^{group}=\((.*?)^\)", read("scripts/install.sh"), re.DOTALL | re.MULTILINE)
    assert match
    return [line.split("#")[0].strip() for line in match[1].splitlines() if line.strip()]


def called(folder: str) -> set[str]:
    """Programs named as strings in the Python code of a folder."""
    names = set()
    for name, text in texts():
        if name.startswith(f"{folder}/") and name.endswith(".py") and not name.startswith("tests/repository"):
            names |= {match for match in re.findall(r'["/]([a-z0-9_-]+)"', text) if match in PROGRAMS}
    return names


def test_every_program_that_the_platform_calls_is_installed_for_the_demo() -> None:
    assert {PROGRAMS[name] for name in called("src")} <= set(listed("run_packages"))


def test_every_program_that_the_tests_call_is_installed_for_them() -> None:
    assert {PROGRAMS[name] for name in called("tests") | called("bench")} <= {
        *listed("run_packages"),
        *listed("test_packages"),
    }


def test_every_library_that_the_tests_load_is_installed_for_them() -> None:
    wanted = {*listed("run_packages"), *listed("test_packages")}
    depends = ask_dpkg("--show", "--showformat=${Depends} ", *wanted)
    brought = wanted | set(re.findall(r"[a-z0-9][a-z0-9+.-]+", re.sub(r"\([^)]*\)", "", depends)))
    libraries = {
        library
        for name, text in texts()
        if name.endswith(".py") and not name.startswith("tests/repository")
        for library in re.findall(r'"(lib[\w-]+\.so\.\d+)"', text)
    }
    assert libraries
    packages = {ask_dpkg("--search", f"*/{library}").split(":")[0] for library in libraries}
    assert packages <= brought


def ask_dpkg(*arguments: str) -> str:
    return subprocess.run(["dpkg-query", *arguments], capture_output=True, text=True, check=True).stdout


def test_every_kamailio_module_is_in_an_installed_package() -> None:
    text = "".join(text for name, text in texts() if name.startswith("src/xiaohao/edge/"))
    modules = set(re.findall(r'loadmodule "(\w+)\.so"', text))
    assert modules
    packages = set()
    for module in modules:
        answer = subprocess.run(
            ["dpkg-query", "--search", f"*/kamailio/modules/{module}.so"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, f"no installed package has the module {module}"
        packages.add(answer.stdout.split(":")[0])
    assert packages <= set(listed("run_packages"))


@pytest.mark.parametrize("group", ["demo", "test"])
def test_installing_is_quick_and_quiet_when_everything_is_there(group: str, tmp_path: Path) -> None:
    (tmp_path / "dpkg-query").write_text("#!/bin/sh\nprintf installed\n")
    for name in ("apt-get", "sudo"):
        (tmp_path / name).write_text("#!/bin/sh\necho called\nexit 1\n")
    for path in tmp_path.iterdir():
        path.chmod(0o755)
    done = subprocess.run(
        ["bash", "scripts/install.sh", group],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    lines = [line for line in read("constraints.txt").splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in lines)
    found = {normal(line.split("==")[0]): line.split("==")[1] for line in lines}
    assert len(found) == len(lines), "a package is pinned twice"
    return found


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads(read("pyproject.toml"))
    wanted = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["dev"],
    ]
    names = {normal(re.split(r"[\[<>=!~; ]", requirement)[0]) for requirement in wanted}
    assert names - pins().keys() == set()


def needed() -> set[str]:
    """The project with its dev extra, and everything that these need in turn."""
    found: set[tuple[str, str]] = set()
    waiting = [("xiaohao", ""), ("xiaohao", "dev")]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        for text in importlib.metadata.requires(name) or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                wanted = normal(requirement.name)
                waiting += [(wanted, each) for each in ("", *requirement.extras)]
    return {name for name, _ in found}


def test_what_is_installed_is_what_is_pinned() -> None:
    versions = {name: importlib.metadata.version(name) for name in needed() - {"xiaohao"}}
    assert len(versions) > 50
    assert {name: version for name, version in versions.items() if pins().get(name) != version} == {}


def test_every_program_file_is_executable() -> None:
    for path in [ROOT / ".ci/run", *(ROOT / "scripts").glob("*.sh")]:
        assert path.read_text().startswith("#!/usr/bin/env bash\n")
        assert path.stat().st_mode & 0o111, path.name


def test_continuous_integration_runs_make_test_and_nothing_else() -> None:
    lines = [line for line in read(".ci/run").splitlines() if line and not line.startswith("#")]
    assert lines == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "exec make test"]
