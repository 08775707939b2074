# SPDX-License-Identifier: GPL-2.0-or-later
"""The manual pages, docs/man, say what the code does; that they are well-formed is tests/test_linters.py's to say."""

import re
import shlex
from pathlib import Path

import pytest

from qbhelper import sources
from qbhelper.broker import server
from qbhelper.broker.main import IDLE_SECONDS
from qbhelper.ctl.parser import parser
from qbhelper.errors import AccessListError
from qbhelper.policy import access_list
from qbhelper.policy.settings import SETTINGS
from qbhelper.request import IFNAMSIZ
from qbhelper.wire import REQUEST_SIZE
from tests import manual, pages
from tests.support.policies import policy_of
from tests.words import commands, common

TREE = Path(__file__).resolve().parents[2]
PAGES = {page.name: page.read_text() for page in manual.pages()}
PLAIN = {name: manual.plain(text) for name, text in PAGES.items()}
read = Path.read_text
PROGRAMS = ("qbhelper.8", "qbhelperctl.1", "qbhelperd.8")


def section(name: str, title: str) -> str:
    """Return the text of a section of a page, without its marks; fails if there is none."""
    found = re.search(rf'^\.SH "?{title}"?\n(.*?)(?=^\.SH |\Z)', PLAIN[name], re.MULTILINE | re.DOTALL)
    assert found, f"{name} has no section {title}"
    return found.group(1)


class TestAllPages:
    """What holds for each of them."""

    def test_there_is_one_for_each_program_and_each_file(self) -> None:
        """A check of the check, and what a new program has to bring."""
        assert set(PAGES) == {*PROGRAMS, "qbhelper-bridge.conf.5", "qbhelper-policy.5"}
        programs = {"qbhelper", *(path.stem for path in (TREE / "packaging").glob("*.in"))}
        assert {name.rpartition(".")[0] for name in PROGRAMS} == programs

    @pytest.mark.parametrize("path", pages.generated(), ids=lambda path: path.name)
    def test_what_comes_from_the_code_is_that_of_the_code(self, path: Path) -> None:
        """Who changes settings, commands or options runs `python3 -m tests.pages`, and pages and completions follow."""
        assert path.read_text() == pages.generated()[path], "run: python3 -m tests.pages"

    @pytest.mark.parametrize("name", PAGES)
    def test_it_is_called_what_it_calls_itself(self, name: str) -> None:
        """In the title and in NAME, by which apropos(1) finds it."""
        title, _, number = name.rpartition(".")
        assert PLAIN[name].startswith(f".TH {title.upper()} {number} ")
        assert section(name, "NAME").startswith(f"{title} - ")

    @pytest.mark.parametrize("name", PAGES)
    def test_it_answers_what_people_look_for(self, name: str) -> None:
        """Files, variables, security, an example; of a program also how it exits."""
        titles = ["SYNOPSIS", "DESCRIPTION", "ENVIRONMENT", "FILES", "SECURITY", "EXAMPLES", "SEE ALSO"]
        for title in [*titles, *(["EXIT STATUS"] if name in PROGRAMS else [])]:
            assert section(name, title).strip()
        assert manual.examples(PAGES[name])

    @pytest.mark.parametrize("name", PAGES)
    def test_it_names_all_others_of_ours_and_none_that_is_not_there(self, name: str) -> None:
        """By section and then by name, as readers expect them."""
        named = re.findall(r"^(qbhelper[a-z.-]*)\((\d)\)", section(name, "SEE ALSO"), re.MULTILINE)
        others = sorted((page.rpartition(".")[::2] for page in PAGES if page != name), key=lambda page: page[::-1])
        assert named == others
        anywhere = set(re.findall(r"\b(qbhelper[a-z.-]*)\((\d)\)", PLAIN[name]))
        assert anywhere <= {page.rpartition(".")[::2] for page in PAGES}

    def test_the_pages_that_units_name_are_there(self) -> None:
        """`systemctl help qbhelper` opens them."""
        units = [path.read_text() for path in (TREE / "packaging" / "systemd").iterdir()]
        named = [
            page for unit in units for page in re.findall(r"^Documentation=man:(\S+)\((\d)\)$", unit, re.MULTILINE)
        ]
        assert len(named) == len(units)
        assert {f"{title}.{number}" for title, number in named} <= set(PAGES)


class TestQbhelperctl:
    """qbhelperctl(1)."""

    def test_every_command_and_every_option_is_there(self) -> None:
        """A check of the generator: all words of the parser."""
        text = section("qbhelperctl.1", "COMMANDS")
        assert re.findall(r"^\.SS (\S+)$", text, re.MULTILINE) == [command.name for command in commands()]
        for part, command in zip(text.split(".SS ")[1:], commands(), strict=False):
            told = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", part))
            assert told >= {option for word in command.options for option in word.options}
            assert all(f"\n{word.value}\n" in part for word in command.arguments)

    def test_no_option_is_there_that_the_parser_does_not_know(self) -> None:
        """In what was written by hand either; other programs' options stand in examples alone."""
        known = {option for word in (*common(), *(w for c in commands() for w in c.words)) for option in word.options}
        text = re.sub(r"^\.EX\n.*?^\.EE$", "", PAGES["qbhelperctl.1"], flags=re.MULTILINE | re.DOTALL)
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", manual.plain(text))) <= known

    def test_every_command_has_an_example_that_the_parser_understands(self) -> None:
        """A new command needs one."""
        shown = "\n".join(example for text in PAGES.values() for example in manual.examples(text))
        lines = re.findall(r"^(?:[$#] )?qbhelperctl (.*?)(?: &&| [|>].*)?$", shown, re.MULTILINE)
        used = {parser().parse_args(shlex.split(line)).command for line in lines}
        assert used == {command.name for command in commands()}


class TestPolicy:
    """qbhelper-policy(5)."""

    def test_every_setting_is_there(self) -> None:
        """A check of the generator."""
        text = section("qbhelper-policy.5", "SETTINGS")
        for setting in SETTINGS:
            assert f".TP\n{setting.name}\n" in text
            assert f"\n{setting.name} = {setting.example}\n" in text

    def test_each_example_is_a_policy(self) -> None:
        """What is shown as a whole file can be used as it stands."""
        examples = [text for text in manual.examples(PAGES["qbhelper-policy.5"]) if "[end]" in text]
        assert len(examples) == 5
        assert all(policy_of(text).rules for text in examples)

    def test_numbers_are_those_of_the_code(self) -> None:
        """Limits of the files."""
        assert (
            f"at most {sources.DROP_INS_MAX} files of at most {sources.SIZE_MAX >> 20} MiB"
            in PLAIN["qbhelper-policy.5"]
        )


class TestAccessList:
    """qbhelper-bridge.conf(5)."""

    def test_each_example_is_an_access_list(self) -> None:
        """Those that are no commands of a shell."""
        examples = [text for text in manual.examples(PAGES["qbhelper-bridge.conf.5"]) if "allow " in text]
        lists = [text for text in examples if not text.startswith("# install")]
        assert len(lists) == 3
        assert all([*access_list.parse(text.encode(), "example")] for text in lists)

    @pytest.mark.parametrize(
        "sentence",
        [
            f"A line has at most {access_list.LINE_MAX} bytes",
            f"The name of a bridge has at most {IFNAMSIZ - 1} bytes",
            f"with {IFNAMSIZ} bytes or more they are errors",
            f"A file has at most {sources.SIZE_MAX >> 20} MiB",
            f"Below the {access_list.DEPTH_MAX}th level, beyond {access_list.FILES_MAX} files that a caller can read",
            f"beyond {access_list.INCLUDES_MAX} lines with include",
        ],
    )
    def test_numbers_are_those_of_the_code(self, sentence: str) -> None:
        """Limits of lines, names, files and includes."""
        assert sentence in " ".join(PLAIN["qbhelper-bridge.conf.5"].split())

    @pytest.mark.parametrize(
        ("line", "meant"),
        [
            (b"allow br0 # lab", b"br0 # lab"),
            (b"allow br0 br1", b"br0 br1"),
            (b" \t\r\fallow br0 \r", b"br0"),
            (b"allow\tbr0", b"br0"),
            (b"allow all", None),
            (b"allow \xc2\xa0", b"\xc2\xa0"),
        ],
    )
    def test_lines_mean_what_it_says(self, line: bytes, meant: bytes | None) -> None:
        """Each line that the page speaks of as understood."""
        [rule] = access_list.parse(line, "list")
        assert isinstance(rule, access_list.Rule)
        assert rule.bridge == meant

    @pytest.mark.parametrize(
        "line",
        [
            b"Allow br0",
            b"allow",
            b"include ",
            b"deny br0 # lab",
            b"allow br0 # the laboratory",
            b"allow\tbr0 # lab",
            b"\xef\xbb\xbfallow br0",
            b"\vallow br0",
            b"allow br0\0",
            b"allow sixteen-bytes-xx",
            b"#" * 4096,
        ],
    )
    def test_errors_are_those_that_it_names(self, line: bytes) -> None:
        """Each line that the page speaks of as an error."""
        with pytest.raises(AccessListError):
            [*access_list.parse(line, "list")]


class TestPrograms:
    """qbhelper(8) and qbhelperd(8)."""

    def test_messages_are_those_of_the_code(self) -> None:
        """Who searches for one finds it."""
        shown = re.findall(
            r"^\.TP\n([a-z][^\n]*?):? (?:`|PATH:LINE|\.\.\.)", section("qbhelper.8", "DIAGNOSTICS"), re.MULTILINE
        )
        assert len(shown) == 5
        code = "".join(map(read, [*(TREE / "qbhelper").rglob("*.py"), *(TREE / "qbhelper" / "native").iterdir()]))
        assert [message for message in shown if message.partition(": Operation")[0] not in code] == []

    def test_the_log_has_the_fields_that_it_says(self) -> None:
        """All of them, and all events."""
        code = "".join(map(read, [*(TREE / "qbhelper" / "broker").glob("*.py"), TREE / "qbhelper" / "record.py"]))
        text = section("qbhelperd.8", "LOG")
        fields = {*re.findall(r"\b([A-Z_]+)=[^=\d]", code), *re.findall(r'"([A-Z_]+)": ', code)}
        fields |= set(re.findall(r'fields\["([A-Z_]+)"\] = ', code))
        assert set(re.findall(r"QBHELPER_([A-Z_]+)", text)) == fields
        events = set(re.findall(r'(?:EVENT=|_fields\(|what = |if ending.detach else )"(\w+)"', code))
        assert {"granted", "revoked", "detached"} < events
        assert all(re.search(rf"\b{event}\b", text) for event in events)

    def test_numbers_are_those_of_the_code(self) -> None:
        """Limits of time and of connections."""
        text, native = " ".join(PLAIN["qbhelperd.8"].split()), (TREE / "qbhelper" / "native").glob("*.c")
        assert f"room for {server.PER_UID_MAX} connections" in text
        assert f"nobody has asked for {IDLE_SECONDS:.0f} seconds" in text
        assert f"one datagram of {REQUEST_SIZE} bytes" in text
        seconds = dict(re.findall(r"^#define SECONDS_TO_(LIVE|WAIT) (\d+)", "".join(map(read, native)), re.MULTILINE))
        text = " ".join(PLAIN["qbhelper.8"].split())
        assert f"after {seconds['LIVE']} seconds" in text
        assert f"has {seconds['WAIT']} seconds of these" in text
