"""Command line of SimCLR: parse flags, build the Config, run the workflow.

Exit codes: 0 done; 1 run failed; 2 usage or data error (one line), or no flags; 3 loss
not finite; 42 stopped by a signal and saved; 129 (SIGHUP), 130 (Ctrl-C) or 143
(SIGTERM) stopped before there was something to save.
"""

from __future__ import annotations

from simclr_tf2 import stopping

if __name__ == "__main__":  # before anything that takes time is imported
    stopping.install()

import logging
import os
import sys

from absl import app
from absl import flags as absl_flags
from absl import logging as absl_logging

from simclr_tf2 import command_help, endings
from simclr_tf2 import config as config_lib
from simclr_tf2.command_line import recipe_files
from simclr_tf2.errors import ConfigError

if __package__ == "simclr_tf2.command_line":  # of a wheel, or by python -m simclr_tf2
    from simclr_tf2.command_line import flags  # type: ignore[attr-defined]
else:
    import flags


def _end(line: str, code: int) -> int:
    print(line, file=sys.stderr, flush=True)
    return code


def _note(text: str, names: list[str]) -> None:
    """Name flags in one line, if there are some."""
    if names:
        shown = ", ".join(f"--{name}" for name in names)
        print(f"note: {text}: {shown}", file=sys.stderr)


def _parse(argv: list[str]) -> list[str]:
    try:
        rest: list[str] = flags.parse(argv)
    except ConfigError as error:
        sys.exit(_end(f"error: {' '.join(str(error).split())}", 2))
    return rest


def _main(_: list[str]) -> int:
    try:
        if not absl_flags.FLAGS["verbosity"].present:
            absl_logging.set_verbosity(absl_logging.ERROR)  # of other libraries
        values = absl_flags.FLAGS
        config = flags.config_from_flags(values)
        for name in flags.leftovers(values):
            print(f"note: --{name} has no effect", file=sys.stderr)
        mode = config.workflow
        _note(f"no effect in --mode={mode}", flags.of_other_modes(values, mode))
        later = "kept for --mode=eval of the run, not measured in fine-tuning"
        _note(later, flags.measured_later(values, mode))
        from simclr_tf2 import startup

        startup.check_environment()
        flat = config_lib.to_flat(config)
        missing = command_help.missing_flags(mode, flat)
        if missing:
            raise ConfigError(missing)
        startup.start_tensorflow(
            deterministic=config.training.deterministic, seed=config.seed
        )
        from simclr_tf2 import workflows

        workflows.run(config)
    except Exception as error:
        ending = endings.line_and_code(error)
        if ending is None or isinstance(error, BrokenPipeError):
            raise
        return _end(*ending)
    return 0


def _log_to_stderr() -> None:
    """Show our own messages as plain lines, whatever other libraries log."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    ours = logging.getLogger("simclr_tf2")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False


def _help(arguments: list[str]) -> int | None:
    """Print the help that is asked for and return the exit code, None without help.

    Without any argument the overview is printed, and the code is that of wrong usage: a
    script that lost its arguments must not count as done.
    """
    asked = {argument.lstrip("-") for argument in arguments if argument[:1] == "-"}
    if not arguments:
        text, code = command_help.overview(), 2
    elif "helpfull" in asked:
        text, code = command_help.full_help(flags.help_sections()), 0
    elif asked & {"help", "helpshort", "h"}:
        recipes = recipe_files.names()
        text, code = command_help.short_help(flags.help_sections(), recipes), 0
    else:
        return None
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:  # `| head` has read enough; nothing is left to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def main() -> None:
    """Run the program from the command line."""
    with endings.of_process():
        code = _help(sys.argv[1:])
        if code is not None:
            sys.exit(code)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        _log_to_stderr()
        absl_flags.adopt_module_key_flags(flags)
        app.run(_main, flags_parser=_parse)


if __name__ == "__main__":
    stopping.run_to_exit(main)
