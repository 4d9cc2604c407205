"""Text of the command line's help, from descriptions of its flags; prints nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simclr_tf2 import places

WIDTH = 80
PROGRAM = places.program()

USAGE = f"usage: {PROGRAM} --mode=MODE --model_dir=FOLDER [--flag=value ...]"


@dataclass(frozen=True)
class Mode:
    """Mode of the program: one thing that it does."""

    name: str
    does: str
    example: str
    needs: tuple[str, ...] = ("model_dir",)  # flags without which it cannot start


MODES = (
    Mode(
        "scan",
        "Check a folder of images: count them, list broken files, suggest settings. "
        "Trains nothing.",
        "--mode=scan --image_dir=photos",
        needs=(),
    ),
    Mode(
        "pretrain",
        "Learn an encoder from images without labels; then evaluate, export and "
        "report.",
        "--mode=pretrain --image_dir=photos --model_dir=runs/photos",
    ),
    Mode(
        "finetune",
        "Train a classifier on a pretrained encoder, on labelled images.",
        "--mode=finetune --checkpoint=runs/photos --image_dir=labelled "
        "--model_dir=runs/classifier",
    ),
    Mode(
        "eval",
        "Measure a run again, with other protocols or on other images.",
        "--mode=eval --model_dir=runs/photos --protocols=label_free",
    ),
    Mode(
        "predict",
        "Label new images with the classifier of a fine-tuned run.",
        "--mode=predict --checkpoint=runs/classifier --input=new --output=labels.csv",
        needs=("checkpoint", "input"),
    ),
    Mode(
        "embed",
        "Write the representation of each image of a folder to a file.",
        "--mode=embed --model_dir=runs/photos --input=photos --output=h.csv",
        # And --model_dir or --checkpoint; --output or --neighbours_of
        needs=("input",),
    ),
    Mode(
        "export",
        "Write encoder.keras and a SavedModel of a run, or of a google-research/simclr "
        "checkpoint.",
        "--mode=export --model_dir=runs/photos",
    ),
    Mode(
        "plan",
        "Estimate memory, communication and time of a run on given hardware. Trains "
        "nothing and needs no images.",
        "--mode=plan --dataset=cifar10 --image_size=32 --hardware=1xa100,2_cpu_cores",
        needs=(),
    ),
)
NOTATION = (
    "Each flag is shown with its default (--seed=0) or, where it has none, with the "
    "kind of its value (--model_dir=TEXT). --use_blur and --nouse_blur are short for "
    "--use_blur=true and =false. --flagfile=FILE reads flags from a file, one a line, "
    "and --flagfile=NAME from the recipe of that name, unless a file has that name. "
    "Flags that follow it on the command line take priority."
)
REFERENCE_MODES = (
    "train and train_then_eval are modes of google-research/simclr: they run the mode "
    "that --train_mode names, pretrain or finetune. --mode=train is the default."
)
FIRST_COMMANDS = (
    ("a first run on embedded data, in minutes", "--flagfile=quickstart"),
    ("check your own images", MODES[0].example),
    ("pretrain on them", MODES[1].example),
)
MORE = (
    ("--help", "every mode with an example, every flag in one line"),
    ("--helpfull", "every flag in full"),
    ("README.md, docs/", "results to expect, data, evaluation, performance"),
    ("--flagfile=NAME", "published settings by name; --help lists these recipes"),
)


@dataclass(frozen=True)
class Flag:
    """Flag as its user sees it; ``default`` is empty where nothing is set."""

    name: str
    text: str
    default: str = ""
    choices: tuple[str, ...] = ()
    value: str = "TEXT"  # kind of its value: TEXT, NUMBER, BOOL, CHOICE, A,B,...

    @property
    def title(self) -> str:
        """Flag with its default, or with the kind of its value."""
        return f"--{self.name}={self.default or self.value}"

    @property
    def summary(self) -> str:
        """First sentence of the flag's text, and its choices."""
        sentence = self.text.split(". ")[0].rstrip(".")
        choices = f" ({', '.join(self.choices)})" if self.choices else ""
        return f"{sentence}{choices}."


@dataclass(frozen=True)
class Section:
    """Section of flags that belong together, and which modes read them."""

    title: str
    modes: str
    flags: Sequence[Flag]


def overview() -> str:
    """Write what the program is, its modes, three commands and where the rest is."""
    return "\n".join(
        [
            "SimCLR: pretrain an image encoder without labels, measure and export it.",
            "",
            USAGE,
            "",
            "Modes:",
            *_table([(mode.name, mode.does) for mode in MODES]),
            "",
            "Examples:",
            *_commands(FIRST_COMMANDS),
            "",
            "More:",
            *_table(MORE, column=20),
            "",
        ]
    )


def missing_flags(mode: str, values: Mapping[str, Any]) -> str:
    """Say which flags ``mode`` needs and ``values`` does not set; "" if none."""
    described = next(known for known in MODES if known.name == mode)
    lacking = [f"--{name}" for name in described.needs if not values[name]]
    if not lacking:
        return ""
    names = " and ".join(filter(None, [", ".join(lacking[:-1]), lacking[-1]]))
    are = "is" if len(lacking) == 1 else "are"
    return (
        f"{names} {are} required in --mode={mode}; for example: "
        f"{PROGRAM} {described.example}"
    )


def short_help(sections: Sequence[Section], recipes: Sequence[str] = ()) -> str:
    """Write modes with examples, recipes, and flags with the first sentence of each."""
    lines = [USAGE, *_wrapped(NOTATION, 0), "", "MODES", ""]
    for mode in MODES:
        lines += [*_table([(mode.name, mode.does)]), *_commands([("", mode.example)])]
        lines.append("")
    lines += _wrapped(REFERENCE_MODES, 2)
    if recipes:
        lines += ["", "RECIPES (--flagfile=NAME)", ""]
        lines += _wrapped(", ".join(recipes), 2)
    for section in sections:
        lines += ["", *_heading(section), ""]
        rows = [(flag.title, flag.summary) for flag in section.flags]
        lines += _table(rows, column=32)
    return "\n".join([*lines, ""])


def full_help(sections: Sequence[Section]) -> str:
    """Write each flag with its whole text, choices and default."""
    lines = [USAGE, *_wrapped(NOTATION, 0)]
    for section in sections:
        lines += ["", *_heading(section)]
        for flag in section.flags:
            lines += ["", f"  --{flag.name}={flag.value}", *_wrapped(flag.text, 6)]
            if flag.choices:
                lines += _wrapped(f"choices: {', '.join(flag.choices)}", 6)
            if flag.default:
                lines.append(f"      default: {flag.default}")
    return "\n".join([*lines, ""])


def _heading(section: Section) -> list[str]:
    return _wrapped(f"{section.title.upper()} (modes: {section.modes})", 0)


def _commands(examples: Sequence[tuple[str, str]]) -> list[str]:
    """Write commands to copy below what they do; long ones take several lines."""
    lines = []
    for does, arguments in examples:
        lines += [f"  # {does}"] if does else []
        width = WIDTH - 2  # room for the backslash
        parts = textwrap.wrap(
            f"{PROGRAM} {arguments}",
            width,
            initial_indent="    ",
            subsequent_indent="      ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines += [f"{part} \\" for part in parts[:-1]] + parts[-1:]
    return lines


def _table(rows: Sequence[tuple[str, str]], *, column: int = 12) -> list[str]:
    """Write names to the left and texts from ``column`` on."""
    lines = []
    for name, text in rows:
        wrapped = _wrapped(text, column)
        if len(name) + 3 > column:
            lines.append(f"  {name}")
        elif wrapped:
            wrapped[0] = f"  {name}".ljust(column) + wrapped[0].lstrip()
        lines += wrapped
    return lines


def _wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
