"""What a person sees on a terminal of 80 columns, captured in a pseudo-terminal."""

import errno
import fcntl
import json
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios

from simclr_tf2.runs import logs
from tests import command_line
from tests.command_line import ROOT, TINY

COLUMNS = 80


class Screen:
    """Lines of a terminal, as far as rich draws a bar on it."""

    def __init__(self):
        self.rows, self.continued, self.row, self.column = [""], set(), 0, 0

    def feed(self, text):
        pattern = r"\x1b\[([?\d;]*)([A-Za-z])|\x1b[^\[]|(.)"
        for match in re.finditer(pattern, text, re.DOTALL):
            if match[2] == "A":
                self.row = max(0, self.row - int(match[1] or 1))
            elif match[2] == "K":
                self.rows[self.row] = ""
            elif match[3] == "\r":
                self.column = 0
            elif match[3] == "\n":
                self.down()
            elif match[3]:
                self.put(match[3])

    def down(self):
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append("")

    def put(self, character):
        if self.column == COLUMNS:
            self.down()
            self.column = 0
            self.continued.add(self.row)
        line = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = line[: self.column] + character + line[self.column + 1 :]
        self.column += 1


def run_on_a_terminal(*arguments):
    """Exit code and everything that was written to a terminal of 80 columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "run.py", *arguments],
        cwd=ROOT,
        env=command_line.environment(TERM="xterm-256color"),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    written = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError as error:  # Linux: the other side is closed
            assert error.errno == errno.EIO
            break
        if not part:
            break
        written += part
    os.close(master)
    return process.wait(timeout=60), written.decode("utf-8", "replace")


def test_lines_and_messages_stand_whole_above_the_bar(data_dir, tmp_path):
    code, written = run_on_a_terminal(
        *[a for a in TINY if not a.startswith("--probe_split")],
        "--probe_split=train[:2]",  # too few for a classifier: a message at a look
        f"--data_dir={data_dir}",
        f"--model_dir={tmp_path}",
        "--valid_size=0.05",
        "--monitor_epochs=0.2",
        "--protocols=",
        "--export_formats=",
        "--noreport",
    )
    screen = Screen()
    screen.feed(written)
    rows = screen.rows
    assert code == 0, "\n".join(rows)
    assert "\u2501" in written and "\u2501" not in "".join(rows)  # the bar is gone
    assert re.search(r"\d+/12\b.*\d:\d\d:\d\d", written)
    # each message begins a line, and no line of numbers is continued in the next
    assert sum(row.startswith("no online kNN: ") for row in rows) == 1
    assert sum("no online kNN" in row for row in rows) == 1
    numbers = [i for i, row in enumerate(rows) if re.match(r"step +\d+/12 ", row)]
    assert not screen.continued & {i + 1 for i in numbers}
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").open()]
    for line in lines:
        if "loss" in line:
            wanted = f"loss {line['loss']:.3f} (chance 4.844)"
        else:
            wanted = f"valid_loss {line['valid_loss']:.3f}"
        assert any(wanted in row for row in rows), wanted
    assert len(numbers) == len(lines) >= 8


def test_the_bar_follows_every_step_and_the_log_writes_above_it(monkeypatch):
    class Terminal:
        """Enough of a terminal for rich."""

        def __init__(self):
            self.text = ""

        def write(self, text):
            self.text += text
            return len(text)

        def flush(self):
            pass

        def isatty(self):
            return True

    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setenv("TERM", "xterm-256color")
    handler = logging.StreamHandler(err)
    logger = logging.getLogger("simclr_tf2")
    logger.addHandler(handler)
    try:
        progress = logs.Progress(
            "auto", total_steps=3, start_step=0, describe=lambda *_: "a line"
        )
        seen = []
        for step in (1, 2, 3):
            progress.move(step)
            seen.append(progress._bar.tasks[0].completed)
        logger.warning("a message")
        progress.close()
        assert seen == [1, 2, 3]
        assert "a message" in out.text and err.text == ""
        logger.warning("afterwards")
        assert err.text == "afterwards\n" and handler.stream is err
    finally:
        logger.removeHandler(handler)
