"""The files of the repository, as a clone has them."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: made by tools or at run time, and named in .gitignore
_NOT_OURS = {".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "__pycache__"}
_NOT_OURS_AT_TOP = {"run", "data", "build", "dist"}


def files() -> Iterator[Path]:
    """Every file that belongs to the repository."""
    return _walk(ROOT)


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        skipped = path.name in _NOT_OURS or path.name.endswith(".egg-info")
        if skipped or (folder == ROOT and path.name in _NOT_OURS_AT_TOP):
            continue
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path


def texts() -> Iterator[tuple[str, str]]:
    """Path (relative, with slashes) and content of every text file."""
    for path in files():
        data = path.read_bytes()
        if b"\0" not in data:
            yield path.relative_to(ROOT).as_posix(), data.decode()


def read(name: str) -> str:
    """The content of a file by its path in the repository."""
    return (ROOT / name).read_text()


def blocks(markdown: str, language: str = r"\w*") -> list[str]:
    """The fenced code blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", markdown, re.DOTALL | re.MULTILINE)
