"""Shell commands in README, docs and the other pages, as a shell would read them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from simclr_tf2 import command_help
from tests.command_line import ROOT

PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "data/README.md",
    "recipes/README.md",
    "benchmarks/README.md",
    "tests/README.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)
SHELLS = ("", "bash", "console", "sh", "shell")
PYTHON = re.compile(r"(.*/)?python[\d.]*")
BETWEEN = re.compile(r"[();<>|&]+")  # what stands between two commands of a line


@dataclass(frozen=True)
class Command:
    """One command of a page: its line, and its words without comments."""

    page: str
    line: int
    words: tuple[str, ...]

    @property
    def program(self) -> str:
        """``run.py`` however it is called, else the module, script or command."""
        first, *more = self.words
        if first == "simclr-tf2":
            return "run.py"
        if not PYTHON.fullmatch(first) or not more:
            return first
        name = more[1] if more[0] == "-m" else more[0]
        return "run.py" if name in ("run.py", "simclr_tf2") else name

    @property
    def arguments(self) -> list[str]:
        """The words after the program; an ellipsis stands for any others."""
        words = list(self.words)
        start = 1 + (PYTHON.fullmatch(words[0]) is not None) + ("-m" in words[:2])
        return [word for word in words[start:] if word != "..."]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def commands(page: str) -> list[Command]:
    """Commands of the shell blocks of a page, fenced or indented."""
    lines = (ROOT / page).read_text().splitlines()
    found, block, fence, until, start, joined = [], False, "", "", 0, ""
    for number, line in enumerate(lines, 1):
        if until:  # in a here-document
            until = "" if line.strip() == until else until
            continue
        if opened := re.match(r" *(```+|~~~+) *(\w*)", line):
            fence = "" if fence else opened[1]
            block = bool(fence) and opened[2] in SHELLS
            continue
        indented = not fence and re.match(r"(    |\t)(?=\S)", line)
        if not block and not indented and not joined:
            continue
        start = start if joined else number
        joined += re.sub(r"^\s*\$ ", "", line)
        if joined.endswith("\\"):
            joined = joined[:-1] + " "
            continue
        if document := re.search(r"<<-?\s*'?(\w+)", joined):
            until = document[1]
        found += [Command(page, start, tuple(words)) for words in _split(joined)]
        joined = ""
    return found


def _split(line: str) -> list[list[str]]:
    """Words of each command of a line; assignments before a command are left out."""
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
    except ValueError:  # a lone quote: prose in an indented list
        return []
    parts: list[list[str]] = [[]]
    for word in words:
        if BETWEEN.fullmatch(word):
            parts.append([])
        elif parts[-1] or not re.match(r"\w+=", word):
            parts[-1].append(word)
    return [part for part in parts if part]


def of_program() -> list[Command]:
    """Every command of a page that starts this program."""
    every = [command for page in PAGES for command in commands(page)]
    return [command for command in every if command.program == "run.py"]


def of_python() -> list[Command]:
    """Every command of a page that starts a Python module or script."""
    every = [command for page in PAGES for command in commands(page)]
    return [c for c in every if PYTHON.fullmatch(c.words[0]) and c.program != "-"]


def of_overview() -> list[Command]:
    """The commands that the program's help shows."""
    shown = [
        *command_help.FIRST_COMMANDS,
        *((m.name, m.example) for m in command_help.MODES),
    ]
    return [
        Command("--help", number, ("simclr-tf2", *shlex.split(text)))
        for number, (_, text) in enumerate(shown)
    ]


def spans_of_flags() -> list[Command]:
    """Flags in inline code: `--a=1 --b`, once for each page.

    Not those of decisions.md, which also tells what was decided against.
    """
    found = {}
    for page in [page for page in PAGES if page != "docs/decisions.md"]:
        for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
            for text in re.findall(r"`(--\w[^`]*)`", line):
                words = tuple(w for w in shlex.split(text) if w.startswith("--"))
                found.setdefault((page, words), Command(page, number, words))
    return list(found.values())
