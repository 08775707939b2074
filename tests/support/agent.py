# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs in a virtual machine, as a service: does what is asked over a virtio port.

Each message is a line of JSON.  To here: argv, stdin, patience.  From here: output, any number of
times, then status, or stuck after `patience` seconds without output.  Bytes are written as the
characters of the same numbers.  The first word is "ready".
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.support import pump

PORT_NAME = "agent"


def port() -> Path:
    """The device of the port that has our name; without udev there is no link to it."""
    for directory in Path("/sys/class/virtio-ports").iterdir():
        if (directory / "name").read_text().strip() == PORT_NAME:
            return Path("/dev", directory.name)
    raise FileNotFoundError(f"no virtio port has the name {PORT_NAME}")


def execute(argv: list[str], stdin: str) -> "subprocess.Popen[bytes]":
    """Start a program."""
    with open(os.memfd_create("stdin"), "w+b") as file:
        file.write(stdin.encode("latin-1"))
        file.seek(0)
        return subprocess.Popen(argv, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def main() -> None:
    """Serve for ever."""
    # A port can be opened once, and Python does not read and write a file that it can't seek in.
    with open(os.open(port(), os.O_RDWR | os.O_CLOEXEC), "rb") as requests:

        def say(**words: Any) -> None:
            message = json.dumps(words).encode() + b"\n"
            while message:
                message = message[os.write(requests.fileno(), message) :]

        say(ready=os.getpid())
        for line in requests:
            request = json.loads(line)
            output = pump.output_of(execute(request["argv"], request["stdin"]), request["patience"])
            try:
                while True:
                    say(output=next(output).decode("latin-1"))
            except StopIteration as end:
                say(status=end.value)
            except TimeoutError:
                say(stuck=True)


if __name__ == "__main__":
    main()
