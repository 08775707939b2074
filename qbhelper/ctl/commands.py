# SPDX-License-Identifier: GPL-2.0-or-later
"""From the words that the parser has found to the module of the command.

Each is imported when it is wanted: one that asks the kernel for much brings much.
"""

import os
from argparse import Namespace
from collections.abc import Callable


def _check(words: Namespace) -> int:
    from qbhelper.ctl import check

    return check.run(words.file, as_json=words.json)


def _doctor(words: Namespace) -> int:
    from qbhelper.ctl.doctor import main as doctor

    return doctor.run(words.user, None if words.bridge is None else os.fsencode(words.bridge), as_json=words.json)


def _explain(words: Namespace) -> int:
    from qbhelper.ctl import explain

    return explain.run(words.user, os.fsencode(words.bridge), words.mac, as_json=words.json)


def _import(words: Namespace) -> int:
    from qbhelper.ctl import importing

    return importing.run(words.file, name_users=words.name_users)


def _log(words: Namespace) -> int:
    from qbhelper.ctl import log

    return log.run(words.user, words.bridge, words.since, following=words.follow, as_json=words.json)


def _show(words: Namespace) -> int:
    from qbhelper.ctl import show

    return show.run(as_json=words.json)


def _status(words: Namespace) -> int:
    from qbhelper.ctl import status

    return status.run(as_json=words.json, watching=words.watch)


def _revoke(words: Namespace) -> int:
    from qbhelper.ctl import revoke

    return revoke.run(words.lease, words.user, words.bridge, detach=words.detach)


def _reconcile(words: Namespace) -> int:
    from qbhelper.ctl import reconcile

    return reconcile.run(apply=words.apply, as_json=words.json)


def _run(words: Namespace) -> int:
    from qbhelper.ctl import run
    from qbhelper.ctl.card import Card

    command = words.words[1:] if words.words[:1] == ["--"] else words.words  # argparse takes it away, or does not
    return run.run([Card(**card) for card in words.cards], command)


def _tap(words: Namespace) -> int:
    from qbhelper.ctl import tap

    tap.check_words(words.action, words.name, words.bridge, words.queues, as_json=words.json)
    match words.action:
        case "create":
            return tap.create(os.fsencode(words.bridge), words.queues or 1)
        case "delete":
            return tap.delete(words.name)
        case _:
            return tap.show(as_json=words.json)


def _attach(words: Namespace) -> int:
    from qbhelper.ctl import attach
    from qbhelper.ctl.card import Card

    return attach.attach(words.qmp, Card(words.bridge, words.queues, words.vhost, words.mac), words.model, words.id)


def _detach(words: Namespace) -> int:
    from qbhelper.ctl import attach

    return attach.detach(words.qmp, words.id)


COMMANDS: dict[str, Callable[[Namespace], int]] = {
    "check": _check,
    "doctor": _doctor,
    "explain": _explain,
    "import": _import,
    "log": _log,
    "show": _show,
    "status": _status,
    "revoke": _revoke,
    "reconcile": _reconcile,
    "run": _run,
    "tap": _tap,
    "attach": _attach,
    "detach": _detach,
}
"""By their names; the parser has the same."""
