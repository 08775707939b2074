# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the demo: `./dev demo` comes here."""

import argparse
import os
import sys
import time

from tests.demo.ledger import FAILURES, Ledger
from tests.demo.story import Demo
from tests.demo.ways import Brokered, Setuid
from tests.support import guest, images, world
from tests.support.screen import Screen


def what_is_missing() -> str | None:
    """Why the demo can't run here, in one line; None if it can."""
    try:
        world.prepare()
        os.close(os.open("/dev/net/tun", os.O_RDWR))
        guest.image_in_world()
    except (world.NotPrivate, images.NoImage) as error:
        return str(error)
    except OSError as error:
        return f"/dev/net/tun can't be opened ({error.strerror}): use sudo, or chmod 666 /dev/net/tun"
    return None


def main() -> int:
    """Run the demo; exit status 0 if every claim holds."""
    parser = argparse.ArgumentParser(prog="./dev demo", description="Two QEMU guests talk through qbhelper.")
    parser.add_argument("--setuid", action="store_true", help="with a setuid helper, and no broker")
    parser.add_argument("--color", choices=["auto", "always", "never"], default="auto", help="default: auto")
    options = parser.parse_args()
    screen = Screen(options.color)
    started = time.monotonic()
    screen.title("qbhelper · two QEMU guests become machines on one bridge")
    missing = what_is_missing()
    if missing:
        screen.trouble(missing)
        return 1
    ledger = Ledger(screen)
    try:
        way = Setuid(screen, ledger) if options.setuid else Brokered(screen, ledger)
        Demo(screen, ledger, way).run()
    except KeyboardInterrupt:
        screen.live_ends()
        screen.trouble("interrupted; everything is taken down")
        return 130
    except BrokenPipeError:
        # Nobody watches any more.  Python would say so once again when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except FAILURES as failure:
        screen.trouble(f"the demo could not begin: {failure}")
        return 1
    screen.heading("What was claimed")
    good, all_of_them = ledger.show()
    screen.line()
    screen.line(f"{good} of {all_of_them} claims hold, after {time.monotonic() - started:.0f} s", "strong")
    return 0 if good == all_of_them else 1


if __name__ == "__main__":
    sys.exit(main())
