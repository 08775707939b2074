# SPDX-License-Identifier: GPL-2.0-or-later
"""The policy as it stands for each caller, worked out once for all that they ask."""

from collections import OrderedDict
from typing import TYPE_CHECKING

from qbhelper.broker.snapshot import Snapshot
from qbhelper.errors import AccessListError, PolicyError
from qbhelper.request import Caller

if TYPE_CHECKING:
    from qbhelper.policy.decision import Verdicts

CALLERS_REMEMBERED = 1024

Asker = tuple[int, int, tuple[int, ...]]
"""All that a verdict may depend on: uid, gid, groups."""


class Policies:
    """Those of a snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._found: OrderedDict[Asker, Verdicts | PolicyError | AccessListError] = OrderedDict()

    def of(self, caller: Caller) -> "Verdicts":
        """Return the policy as it stands for `caller`.  Raises PolicyError or AccessListError."""
        asker = (caller.uid, caller.gid, caller.groups)
        found = self._found.get(asker)
        if found is None:
            try:
                found = self._snapshot.policy_for(caller)
            except (PolicyError, AccessListError) as error:
                found = error
            self._found[asker] = found
            if len(self._found) > CALLERS_REMEMBERED:
                self._found.popitem(last=False)
        # New ones: each raise adds its frames to an error, for ever to one that is kept.
        if isinstance(found, PolicyError):
            raise PolicyError(found.what, found.remedy, found.problems)
        if isinstance(found, AccessListError):
            raise AccessListError(found.what, found.remedy)
        return found
