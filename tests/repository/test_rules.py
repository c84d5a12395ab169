"""House rules that a reader should be able to rely on everywhere."""

import re
from pathlib import Path

from tests.repository.files import ROOT, files, texts

THIS = Path(__file__).relative_to(ROOT).as_posix()
CODE = [path for path in files() if path.suffix == ".py" and path.is_relative_to(ROOT / "src")]


def found(pattern: str, skip: str = r"$^") -> list[str]:
    """Places in text files where a pattern occurs."""
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in texts()
        if name != THIS and not re.search(skip, name)
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(pattern, line)
    ]


def test_no_registry_addresses() -> None:
    addresses = r"pypi\.org|pythonhosted|registry\.npmjs|deb\.debian\.org|proxy\.golang"
    options = r"--(extra-)?index-url|--find-links|--trusted-host|git\+https?:"
    assert found(f"{addresses}|{options}") == []


def test_no_paths_of_one_machine() -> None:
    assert found(r"(?<![\w.~}])/(work|root|Users|tmp)(/|\b)|(?<![\w.~}])/home/(?!xiaohao\b)\w") == []


def test_nothing_is_left_for_later() -> None:
    assert found(r"\b(TODO|FIXME|XXX|HACK)\b|\bNotImplementedError\b") == []


def test_no_test_is_skipped() -> None:
    assert found(r"pytest\.(skip|xfail|importorskip)|mark\.(skip|skipif|xfail)\b|unittest\.skip") == []


def test_no_large_file() -> None:
    assert [path.name for path in files() if path.stat().st_size > 1_000_000] == []


def test_text_files_end_with_one_line_break_and_use_unix_ones() -> None:
    bad = [
        name
        for name, text in texts()
        if text and (not text.endswith("\n") or text.endswith("\n\n") or "\r" in text)
    ]
    assert bad == []


def test_modules_stay_readable() -> None:
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in CODE}
    assert {name: lines for name, lines in lengths.items() if lines > 400} == {}
