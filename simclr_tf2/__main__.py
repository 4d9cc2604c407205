"""``python -m simclr_tf2``: the command line."""

from simclr_tf2 import command_line

if __name__ == "__main__":
    command_line.main()
