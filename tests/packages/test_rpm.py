# SPDX-License-Identifier: GPL-2.0-or-later
"""The RPM packages, built from the spec with Debian's rpmbuild and the places of Fedora and openSUSE."""

import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.packages.conftest import Needs
from tests.packages.throwaway import OWN_PROGRAMS
from tests.packages.trees import TREE, copy_of_the_source, run, shared

SPEC = TREE / "packaging/rpm/qbhelper.spec"
# What a distribution's build service adds, or another distribution's rules, which Debian's rpmlint has.
NOT_OF_THE_PACKAGE = (
    r"no-(signature|packager-tag|group-tag|buildroot-tag)|invalid-license|lib-package-without-%mklibname",
    # rpmlint 2.4.0 says it of every program: it compares the section of a page with the name of the program.
    r"no-manual-page-for-binary",
)


@dataclass(frozen=True)
class Rpms:
    """The packages that were built for one distribution."""

    distribution: str
    directory: Path

    def __getitem__(self, name: str) -> Path:
        (found,) = self.directory.glob(f"RPMS/*/{name}-0.1.0-1.*.rpm")
        return found

    def query(self, name: str, *words: str) -> str:
        """Ask rpm about one of them."""
        return run(["rpm", "--query", "--package", *words, self[name]], env=OWN_PROGRAMS)

    def modes(self, name: str) -> dict[str, str]:
        """Everything in one of them, with its mode, owner and group."""
        lines = self.query(
            name, "--queryformat", "[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME}\n]"
        )
        return {line.split()[0]: line.partition(" ")[2] for line in lines.splitlines()}


@pytest.fixture(scope="module", params=["fedora", "suse"])
def rpms(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, needs: Needs) -> Rpms:
    """Our packages, built as for this distribution."""
    needs("rpmbuild", "checkmodule", "semodule_package", "m4")
    top = tmp_path_factory.mktemp(request.param)
    sources = top / "SOURCES"
    sources.mkdir()
    copy = copy_of_the_source(top / "qbhelper-0.1.0")
    with tarfile.open(sources / "qbhelper-0.1.0.tar.gz", "w:gz") as archive:
        archive.add(copy, copy.name)
    macros = TREE / "tests/packages" / f"{request.param}.macros"
    places = ["--define", f"_topdir {top}", "--define", f"_tmppath {top}", "--load", str(macros)]
    # Their tests are ours, which run anyway; that it builds without the packages it names is why it is tried here.
    run(["rpmbuild", "-ba", "--nodeps", "--without=check", *places, SPEC], env=OWN_PROGRAMS, umask=0o022)
    return Rpms(request.param, top)


def test_each_package_has_its_files(rpms: Rpms) -> None:
    """Programs, units, account, modules with their byte code, configuration, and the link for libvirt."""
    ours = set(rpms.modes("qbhelper"))
    sbin = {"fedora": "/usr/bin", "suse": "/usr/sbin"}[rpms.distribution]
    assert {
        "/usr/bin/qbhelper",
        f"{sbin}/qbhelperd",
        "/usr/lib/systemd/system/qbhelper.service",
        "/usr/lib/systemd/system/qbhelper.socket",
        "/usr/lib/sysusers.d/qbhelper.conf",
        "/etc/qbhelper/policy.toml",
        "/etc/qbhelper/policy.d",
    } <= ours
    modules = {str(path.relative_to(TREE)) for path in (TREE / "qbhelper").rglob("*.py")}
    assert {f"/usr/share/qbhelper/{module}" for module in modules} == {path for path in ours if path.endswith(".py")}
    assert len([path for path in ours if path.endswith(".pyc")]) == len(modules)
    assert shared("/usr/share", compressed=".gz") <= ours
    directories = {"bash-completion", "bash-completion/completions", "fish", "zsh", "zsh/site-functions"}
    assert {f"/usr/share/{directory}" for directory in directories} <= ours, "nobody's, where the shell is missing"
    link = {path for path in rpms.modes("qbhelper-libvirt") if not path.startswith("/usr/share/man/")}
    assert link == {"/usr/bin/qemu-bridge-helper"}


def test_nothing_is_setuid_or_writable(rpms: Rpms) -> None:
    """Every file is root's, with one of two modes, and none has a capability."""
    for name in ("qbhelper", "qbhelper-libvirt"):
        modes = set(rpms.modes(name).values())
        assert modes <= {f"{mode} root root" for mode in ("-rw-r--r--", "-rwxr-xr-x", "drwxr-xr-x", "lrwxrwxrwx")}
        assert rpms.query(name, "--queryformat", "[%{FILECAPS}]") == ""


def test_configuration_is_kept(rpms: Rpms) -> None:
    """What an administrator has changed stays, and the new file is put beside it."""
    flags = rpms.query("qbhelper", "--queryformat", "[%{FILENAMES} %{FILEFLAGS:fflags}\n]").splitlines()
    assert [line for line in flags if "c" in line.partition(" ")[2]] == ["/etc/qbhelper/policy.toml cn"]


def test_it_is_linked_with_the_systems_library(rpms: Rpms) -> None:
    """Both distributions want that of programs that can; and it knows this interpreter's modules."""
    requires = rpms.query("qbhelper", "--requires").splitlines()
    assert [line for line in requires if line.startswith("libc.so.6")]
    assert "python(abi) = 3.13" in requires
    assert "python3-pyroute2" in requires
    assert {"fedora": "python3-prctl", "suse": "python3-python-prctl"}[rpms.distribution] in requires


def test_the_policies_of_the_system_come_in_packages_of_their_own(rpms: Rpms) -> None:
    """SELinux's compiled module wherever it may be in use, AppArmor's profiles where they are."""
    assert "/usr/share/selinux/packages/targeted/qbhelper.pp" in rpms.modes("qbhelper-selinux")
    assert "(qbhelper-selinux = 0.1.0-1 if selinux-policy-targeted)" in rpms.query("qbhelper", "--requires")
    apparmor = list(rpms.directory.glob("RPMS/*/qbhelper-apparmor-*.rpm"))
    assert bool(apparmor) is (rpms.distribution == "suse")
    if apparmor:
        assert {"/etc/apparmor.d/qbhelper", "/etc/apparmor.d/qbhelperd"} <= set(rpms.modes("qbhelper-apparmor"))


def test_its_scripts_do_what_the_distribution_has_macros_for(rpms: Rpms) -> None:
    """None is left unexpanded, and none enables or starts anything by itself."""
    names = ["qbhelper", "qbhelper-selinux", *(["qbhelper-apparmor"] if rpms.distribution == "suse" else [])]
    for name in names:
        scripts = rpms.query(name, "--scripts")
        assert "%" not in scripts
        assert not re.search(r"systemctl|chmod|setcap|useradd", scripts)
    ours = rpms.query("qbhelper", "--scripts")
    restarts = {"fedora": "systemd_postun_with_restart", "suse": "service_del_postun"}[rpms.distribution]
    assert re.findall(rf": {restarts} (.*)", ours) == ["qbhelper.service"], "the socket stays open in an upgrade"


def test_rpmlint_has_nothing_to_say(rpms: Rpms, needs: Needs) -> None:
    """But for what packaging/rpm/qbhelper.rpmlintrc gives a reason for."""
    needs("rpmlint")
    settings = rpms.directory / "rpmlint.toml"
    settings.write_text(f'CompressExtension = "gz"\nFilters = {[*NOT_OF_THE_PACKAGE]!r}\n')
    packages = [path for path in rpms.directory.rglob("*.rpm") if "debug" not in path.name]
    words: list[str | Path] = ["--rpmlintrc", TREE / "packaging/rpm/qbhelper.rpmlintrc", "--config", settings]
    said = run(["rpmlint", *words, *packages], env=OWN_PROGRAMS)
    assert f" {len(packages)} packages" in said
    assert [line for line in said.splitlines() if re.search(r": [EW]: ", line)] == []
