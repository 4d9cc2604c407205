"""The program's flags, parsed afresh; absl keeps them for the whole process."""

from absl import flags as absl_flags

import flags


def forget():
    """Make the program's flags as if none had been parsed."""
    absl_flags.FLAGS.unparse_flags()
    for name in flags.flag_names():
        absl_flags.FLAGS[name].unparse()


def parsed(*arguments):
    """The program's flags, parsed afresh."""
    forget()
    absl_flags.FLAGS(["run.py", *arguments])
    return absl_flags.FLAGS
