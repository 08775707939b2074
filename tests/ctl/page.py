# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/qbhelperctl.md with what its commands print now: `./dev shell -c 'python3 -m tests.ctl.page'` writes it anew."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.ctl import host
from tests.support import world

PAGE = Path(__file__).resolve().parents[2] / "docs" / "qbhelperctl.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(root# |alice\$ )(.*)\n", re.MULTILINE)


def transcripts(page: str) -> list[list[tuple[str, str, str]]]:
    """Return the blocks of a page: of each, at which prompts which commands are given, and what is printed."""
    found = []
    for block in BLOCK.findall(page):
        _, *parts = COMMAND.split(block)
        found.append([*zip(parts[::3], parts[1::3], parts[2::3], strict=True)])
    return found


def run(user: str, command: str, directory: Path) -> str:
    """Run a command as a person would, and return all that it printed."""
    path = f"{host.program().parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    done = subprocess.run(
        [*host.as_user(user), "sh", "-c", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=directory,
        env={"PATH": path, "LC_ALL": "C"},
        timeout=60,
        check=False,
    )
    return done.stdout


def prepare(page: str, directory: Path) -> None:
    """Make the files of the page."""
    for block in transcripts(page):
        for _, command, out in block:
            if command.startswith("cat "):
                host.write(directory / command.removeprefix("cat "), out)
    host.write(host.LIST, "allow br0\nallow br-lab\ninclude /etc/qemu/alice.conf\ninclude /etc/qemu/students.conf\n")
    host.write(host.LIST.with_name("alice.conf"), "allow br1\n", 0o640, "root:alice")
    host.write(host.LIST.with_name("students.conf"), "deny br-lab\n", 0o640, "root:students")


def rewritten(page: str, directory: Path) -> str:
    """Return the page with what its commands print now."""

    def rewrite(block: "re.Match[str]") -> str:
        [commands] = transcripts(block.group())
        lines = [
            f"{prompt}{command}\n{run(prompt.rstrip('#$ '), command, directory)}" for prompt, command, _ in commands
        ]
        return "```console\n" + "".join(lines) + "```"

    return BLOCK.sub(rewrite, page)


@contextmanager
def a_host() -> Iterator[None]:
    """A host with the accounts and the bridges of the page, and nothing else."""
    host.clear()
    with ExitStack() as stack:
        stack.enter_context(host.accounts())
        for name in ("br0", "br-lab"):
            stack.enter_context(world.bridge(name))
        world.run("ip", "link", "property", "add", "dev", "br0", "altname", "lan0")
        yield
    host.clear()


def as_printed_now() -> str:
    """Return the page as it has to be."""
    page = PAGE.read_text()
    with a_host(), tempfile.TemporaryDirectory(dir=world.WORLD) as directory:
        prepare(page, Path(directory))
        return rewritten(page, Path(directory))


if __name__ == "__main__":
    PAGE.write_text(as_printed_now())
