# SPDX-License-Identifier: GPL-2.0-or-later
"""Code of a hostile caller, laid out wherever a careless program would run it; each leaves a mark."""

import os
import subprocess
import sys
from pathlib import Path

NAMES = """
    abc ast codecs collections ctypes encodings enum errno fcntl genericpath importlib io json ntpath
    os posixpath prctl _prctl qbhelper re site sitecustomize socket _socket stat struct _struct subprocess sys
    tokenize traceback types usercustomize zipimport
"""
"""Modules that an interpreter or the core might look for in the wrong place."""

LIBRARIES = "libc.so.6 libm.so.6 libz.so.1 libexpat.so.1 libcap.so.2 libpython3.so libdl.so.2 libpthread.so.0"

CONSTRUCTOR = """
#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void spring(void) { close(open(MARK "/library", O_CREAT | O_WRONLY, 0666)); }
unsigned int la_version(unsigned int version) { return version; }
int gconv_init(void *step) { (void)step; return 0; }
"""


class Trap:
    """A directory full of code that leaves a mark when it runs, and ways to point at it."""

    def __init__(self, root: Path) -> None:
        """Build it at `root`, which any user may enter."""
        root.mkdir(mode=0o755)
        self._marks = root / "marks"
        self._marks.mkdir()
        self._marks.chmod(0o777)
        self.modules = root / "modules"
        self.home = root / "home"
        self.libraries = root / "libraries"
        self._lay_modules()
        self._lay_home()
        self._lay_libraries()

    def _lay_modules(self) -> None:
        self.modules.mkdir()
        for name in NAMES.split():
            (self.modules / f"{name}.py").write_text(self._code(name))
            package = self.modules / "packages" / name
            package.mkdir(parents=True)
            (package / "__init__.py").write_text(self._code(f"package-{name}"))
        for program in ("sh", "python3", "setcap", "qbhelper", "ip"):
            (self.modules / program).write_text(f"#!/bin/sh\n: >{self._marks}/program-{program}\n")
            (self.modules / program).chmod(0o755)

    def _lay_home(self) -> None:
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        site = self.home / ".local/lib" / version / "site-packages"
        site.mkdir(parents=True)
        for name in ("usercustomize", "sitecustomize", "prctl"):
            (site / f"{name}.py").write_text(self._code(f"home-{name}"))
        (site / "evil.pth").write_text(f"import os; open({str(self._marks / 'pth')!r}, 'w').close()\n")
        (self.home / "startup.py").write_text(self._code("startup"))

    def _lay_libraries(self) -> None:
        self.libraries.mkdir()
        shared = self.libraries / "evil.so"
        subprocess.run(
            ["gcc", "-shared", "-fPIC", f'-DMARK="{self._marks}"', "-o", shared, "-x", "c", "-"],
            input=CONSTRUCTOR.encode(),
            check=True,
            umask=0o022,
        )
        for name in LIBRARIES.split():
            (self.libraries / name).symlink_to(shared)
        (self.libraries / "gconv-modules").write_text(
            "module UTF-8// INTERNAL evil 1\nmodule INTERNAL UTF-8// evil 1\n"
        )

    def _code(self, name: str) -> str:
        # posix, because it is there before any module that has a file is.
        return (
            f"import posix; posix.close(posix.open({str(self._marks / name)!r}, {os.O_CREAT | os.O_WRONLY}, 0o666))\n"
        )

    def sprung(self) -> set[str]:
        """The marks that were left, which are then wiped off."""
        marks = set(os.listdir(self._marks))
        for mark in marks:
            (self._marks / mark).unlink()
        return marks

    def environments(self) -> dict[str, dict[str, str]]:
        """Environments that make a careless program run the code, or that disturb one."""
        modules, home, libraries = str(self.modules), str(self.home), str(self.libraries)
        shared = f"{libraries}/evil.so"
        return {
            "PYTHONPATH": {"PYTHONPATH": f"{modules}:{modules}/packages"},
            "PYTHONHOME": {"PYTHONHOME": modules},
            "PYTHONSTARTUP": {"PYTHONSTARTUP": f"{home}/startup.py", "PYTHONINSPECT": "1"},
            "PYTHON*": {
                "PYTHONUSERBASE": f"{home}/.local",
                "PYTHONPLATLIBDIR": modules,
                "PYTHONEXECUTABLE": f"{modules}/python3",
                "PYTHONBREAKPOINT": "os.abort",
                "PYTHONWARNINGS": "error::os.Warning",
                "PYTHONDEVMODE": "1",
                "PYTHONMALLOC": "debug",
                "PYTHONPROFILEIMPORTTIME": "1",
                "PYTHONVERBOSE": "3",
                "PYTHONUTF8": "0",
                "PYTHONIOENCODING": "rot13",
                "PYTHONHASHSEED": "nonsense",
                "PYTHONTRACEMALLOC": "99",
                "PYTHONPYCACHEPREFIX": modules,
                "PYTHONCASEOK": "1",
                "PYTHONDUMPREFS": "1",
            },
            "HOME": {"HOME": home, "XDG_CONFIG_HOME": home, "PATH": modules},
            "PATH": {"PATH": modules},
            "LD_PRELOAD": {"LD_PRELOAD": shared},
            "LD_LIBRARY_PATH": {"LD_LIBRARY_PATH": libraries},
            "LD_AUDIT": {"LD_AUDIT": shared, "LD_PROFILE_OUTPUT": str(self._marks)},
            "LD_*": {
                "LD_BIND_NOW": "1",
                "LD_DEBUG": "all",
                "LD_DEBUG_OUTPUT": str(self._marks / "debug"),
                "LD_VERBOSE": "1",
            },
            "GLIBC_TUNABLES": {"GLIBC_TUNABLES": "glibc.malloc.check=3:glibc.malloc.tcache_count=0:" + "A" * 4000},
            "GCONV_PATH": {"GCONV_PATH": libraries, "LC_ALL": "xx_XX.EVIL", "LOCPATH": libraries, "NLSPATH": shared},
            "MALLOC_*": {
                "MALLOC_CHECK_": "3",
                "MALLOC_PERTURB_": "165",
                "MALLOC_ARENA_MAX": "1",
                "MALLOC_TRACE": f"{home}/trace",
            },
            "TMPDIR": {"TMPDIR": modules, "TZ": f":{shared}", "TERMINFO": libraries, "HOSTALIASES": shared},
            "nothing": {},
            "malformed": {"": "x", "A" * 1000: "B" * 100_000, "PATH": ""},
        }
