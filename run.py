"""Command line of SimCLR: parse flags, build the Config, run the workflow.

Exit codes: 0 done; 1 run failed; 2 usage or data error (one line); 3 loss not finite;
42 stopped by a signal and saved.
"""

from __future__ import annotations

import logging
import os
import sys

from absl import app
from absl import flags as absl_flags

import flags
from simclr_tf2.config import ConfigError


def _fail(message: object, code: int) -> int:
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr, flush=True)
    return code


def _parse(argv: list[str]) -> list[str]:
    try:
        return absl_flags.FLAGS(argv)
    except absl_flags.Error as error:
        sys.exit(_fail(error, 2))


def _main(argv: list[str]) -> int:
    try:
        if argv[1:]:
            raise ConfigError(f"unexpected argument {argv[1]!r}; flags start with --")
        config = flags.config_from_flags(absl_flags.FLAGS)
        from simclr_tf2 import startup

        startup.check_environment()
        from simclr_tf2 import workflows

        workflows.run(config, flagfile=flags.flagfile_text(config))
    except ConfigError as error:
        return _fail(error, 2)
    except Exception as error:
        code = getattr(error, "exit_code", None)  # the run's own, expected endings
        if code is None:
            raise
        return _fail(error, code)
    return 0


def main() -> None:
    """Console entry point."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    absl_flags.FLAGS.set_default("verbosity", 0)
    absl_flags.adopt_module_key_flags(flags)
    app.run(_main, flags_parser=_parse)


if __name__ == "__main__":
    main()
