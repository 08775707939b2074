# SPDX-License-Identifier: GPL-2.0-or-later
"""A container as a plain user makes one, without any program for that: namespaces, and a root of its own.

It shares the network with its host, and has the broker's socket and the files that it is given.  It has no
TUN device.
"""

from collections.abc import Sequence
from pathlib import Path

from tests.support import broker

UNSHARE = "unshare"
NO_CAPABILITIES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
"""Also for root of a user namespace: what it executes has no capability, not even over that namespace."""
NO_NEW_PRIVS = ("setpriv", "--no-new-privs")

# The directory of the socket is mounted, not the socket: a broker that is started anew makes a new one.
_ENTER = """
set -e
PATH=$PATH:/usr/sbin:/sbin
mount -t tmpfs -o mode=0755 root /mnt
cd /mnt
for system in bin etc lib lib64 sbin usr; do
    if [ -L /$system ]; then ln -s "$(readlink /$system)" $system
    elif [ -d /$system ]; then mkdir $system && mount --rbind /$system $system
    fi
done
mkdir dev proc tmp
mount -t proc proc proc
for device in null zero urandom; do >dev/$device && mount --bind /dev/$device dev/$device; done
while [ "$1" != -- ]; do
    mkdir -p ./"$1" && mount --rbind "$1" ./"$1"
    shift
done
shift
pivot_root . .
umount -l .
exec "$@"
"""


def words(*directories: Path, options: Sequence[str] = ()) -> list[str]:
    """Return the words that, put before a command, run it in a container with these directories in it.

    The plain uid that runs them is root there.  `options` are more of unshare's, such as --net.
    """
    namespaces = ["--user", "--map-root-user", *options, "--mount", "--pid", "--fork", "--kill-child"]
    mounted = [str(directory) for directory in (broker.SOCKET.parent, *directories)]
    return [UNSHARE, *namespaces, "sh", "-c", _ENTER, "container", *mounted, "--"]
