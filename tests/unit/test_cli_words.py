"""The command line without a network: help, completion, errors, and the page that describes it."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from surge import errors
from surge.buyer.home import running_folder
from surge.cli import app, console, places, tables
from surge.cli.console import EXIT_CODES, exit_code, run_command
from surge.cli.money import provider_folders
from surge.cli.roles import LINES_AT_ONCE, LINES_PER_SECOND, Paced, SafeFormatter
from surge.errors import InvalidInput

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "cli.md").read_text()
SURGE = (sys.executable, "-m", "surge.cli")


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its words."""
    context = click.Context(app.surge)
    for name in app.surge.list_commands(context):
        found = app.surge.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            for word, command in found.commands.items():
                yield f"{name} {word}", command
        else:
            yield name, found


STEERING = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202e"


def test_nothing_that_is_shown_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Errors, listings and log lines are made of what peers, nodes, guests and files said."""

    @click.command()
    def fails() -> None:
        raise errors.LedgerError(f"the node says {STEERING}")

    assert run_command(fails, []) == 5
    tables.show([{"region": f"{STEERING}[red]x[/red][/nonsense]"}], ["region"], as_json=False)
    console.out.print(STEERING, markup=False)
    shown = capsys.readouterr()
    for text in (shown.out, shown.err):
        assert not set(text) & set("\x1b\x07\r\x9b\u202e"), repr(text)
    assert "[red]x[/red][/nonsense]" in shown.out, "nor is it markup"


def test_a_peer_forges_no_log_line() -> None:
    said = logging.LogRecord("surge", logging.INFO, "", 0, "it said %s", (f"bye\n2026-01-01 INFO surge: paid{STEERING}",), None)
    line = SafeFormatter("%(levelname)s %(message)s").format(said)
    assert line.count("\n") == 0
    assert "\x1b" not in line
    try:
        raise errors.PeerFault(f"one\nINFO two{STEERING}")
    except errors.PeerFault:
        said = logging.LogRecord("surge", logging.ERROR, "", 0, "failed", (), sys.exc_info())
    first, *rest = SafeFormatter("%(levelname)s %(message)s").format(said).splitlines()
    assert first == "ERROR failed"
    assert all(each.startswith("    ") for each in rest)
    assert "\x1b" not in "".join(rest)


def test_log_lines_without_end_do_not_fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("surge.cli.roles.time.monotonic", lambda: now[0])
    paced = Paced()

    def lines(count: int) -> list[str]:
        records = [logging.LogRecord("surge", logging.INFO, "", 0, "line %d", (number,), None) for number in range(count)]
        return [record.getMessage() for record in records if paced.filter(record)]

    assert lines(5000) == [f"line {number}" for number in range(int(LINES_AT_ONCE))]
    now[0] += 1.0
    assert lines(5000) == ["line 0 (4000 lines before were left out)", *(f"line {number}" for number in range(1, int(LINES_PER_SECOND)))]


NAMES = [name for name, _ in commands()]


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("SURGE_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("SURGE_HOME", str(tmp_path / "user"))
    monkeypatch.chdir(tmp_path)


def test_every_help_is_said_without_loading_what_is_slow() -> None:
    code = """
import sys
from surge.cli.app import surge
from surge.cli.console import run_command
from surge.cli.lines import as_json_value, read_items
from surge.cli.outputs import output_file
for words in sys.argv[1:]:
    assert run_command(surge, [*words.split(), "--help"]) == 0, words
slow = {"eth_abi", "eth_account", "wasmtime", "nats", "numpy", "pandas"} & set(sys.modules)
assert not slow, slow
"""
    said = subprocess.run([sys.executable, "-c", code, "", *NAMES, *app.COMMANDS], capture_output=True, text=True, timeout=120)
    assert said.returncode == 0, said.stderr
    for name in NAMES:
        assert f"Usage: surge {name}" in said.stdout


def test_the_overview_names_every_command_and_every_exit_code() -> None:
    said = subprocess.run([*SURGE, "--help"], capture_output=True, text=True, timeout=60).stdout
    for name, (_, text) in app.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(text.split()[0])}", said, re.MULTILINE), name
    for code in EXIT_CODES:
        assert re.search(rf"^ +{code} ", said, re.MULTILINE), code


def test_the_page_describes_every_command_option_and_exit_code() -> None:
    sections = dict(re.findall(r"^## `surge ([^\n`]+)`\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
    described = {re.split(r" (?=\[|[A-Z])", title)[0]: text for title, text in sections.items()}
    assert sorted(described) == sorted(NAMES)
    for name, command in commands():
        options = {word for each in command.params if isinstance(each, click.Option) and not each.hidden for word in each.opts}
        named = set(re.findall(r"`(--?[a-z-]+)", described[name])) - {"--no-inputs", "--network" if "--network" not in options else ""}
        assert named == options, name
    codes = re.findall(r"^\| (\d+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert {int(code): text for code, text in codes} == dict(EXIT_CODES)


def test_every_variable_that_is_read_is_on_the_page() -> None:
    source = "".join(path.read_text() for path in (ROOT / "src" / "surge").rglob("*.py"))
    named = set(re.findall(r"environ(?:\.get\(|\[)\"(SURGE_\w+)\"", source))
    assert named
    assert all(f"`{name}`" in PAGE for name in named)


def test_every_command_of_the_readme_exists() -> None:
    text = (ROOT / "README.md").read_text()
    named = re.findall(r"^surge ([a-z]+)(?: ([a-z]+))?", text, re.MULTILINE)
    assert len(named) >= 7
    for first, second in named:
        assert first in app.COMMANDS
        assert f"{first} {second}" in NAMES or first in NAMES, (first, second)
    for group, words in re.findall(r"surge ([a-z]+) [a-z]+ +# and ([a-z, ]+)$", text, re.MULTILINE):
        assert {f"{group} {word}" for word in words.split(", ")} <= set(NAMES)


def complete(*words: str) -> list[str]:
    env = {**os.environ, "_SURGE_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(["surge", *words]), "COMP_CWORD": str(len(words))}
    program = Path(sys.executable).with_name("surge")
    said = subprocess.run([program], env=env, capture_output=True, text=True, timeout=60)
    return [line.partition(",")[2] for line in said.stdout.splitlines()]


def test_the_shell_completes_commands_and_options() -> None:
    env = {**os.environ, "_SURGE_COMPLETE": "bash_source"}
    program = Path(sys.executable).with_name("surge")
    script = subprocess.run([program], env=env, capture_output=True, text=True, timeout=60)
    assert "complete -o nosort -F _surge_completion surge" in script.stdout
    assert complete("rec") == ["receipt"]
    assert complete("receipt", "v") == ["verify"]
    assert complete("network", "o") == ["offers"]
    assert complete("network", "offers", "--max") == ["--max-price"]
    assert complete("map", "--bud") == ["--budget"]
    assert complete("check", "--max") == ["--max-output", "--max-price"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_one_line_to_add(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(app.surge, ["completion", shell]) == 0
    assert f"_SURGE_COMPLETE={shell}_source surge" in capsys.readouterr().out


def test_the_doctor_names_what_is_missing_and_what_mends_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SURGE_ANVIL", "/nowhere/anvil")
    assert run_command(app.surge, ["doctor", "--json"]) == 1
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert not found["anvil"]["ok"]
    assert "/nowhere/anvil" in found["anvil"]["mend"]
    assert len(found) > 8
    assert found["wasmtime"]["ok"]
    assert all(bool(each["mend"]) is not each["ok"] for each in found.values())


def test_every_error_has_a_documented_code() -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.SurgeError)]
    assert len(kinds) > 6
    assert {exit_code(kind.__new__(kind)) for kind in kinds} <= set(EXIT_CODES)
    assert exit_code(errors.NotEnough("no money")) == 6
    assert exit_code(errors.Unavailable("away")) == 4


@pytest.mark.parametrize(
    ("args", "code", "part"),
    [
        (["nonsense"], 2, "No such command"),
        (["map"], 2, "Missing argument"),
        (["map", "a.py:f", "in.jsonl", "--chunk", "many"], 2, "a number of items"),
        (["map", "a.py:f", "in.jsonl", "--deadline", "nan"], 2, "longer than nothing"),
        (["map", "a.py:f", "in.jsonl", "--timeout", "-1s"], 2, "longer than nothing"),
        (["map", "a.py:f", "in.jsonl", "--fuel", "0"], 2, "no fuel"),
        (["check", "a.py:f", "--nonsense"], 3, "no Python file a.py"),
        (["check", "a.py:f", "1", "--nonsense"], 2, "unexpected extra argument"),
        (["job", "list"], 3, "no network to join"),
        (["job", "list", "--network", "nowhere"], 3, "no network file nowhere"),
        (["wallet", "send", "0x12", "1"], 3, "no network to join"),
        (["receipt", "verify", "nowhere.json"], 3, "error: there is no case file nowhere.json"),
        (["receipt", "verify", "12ab34cd56ef"], 3, "`surge receipt export 12ab34cd56ef -o FILE` makes one"),
        (["run", "nowhere.wasm"], 3, "error: there is no file nowhere.wasm"),
        (["run", "."], 3, "is a directory"),
        (["map", "a.py:f", "in.jsonl", "--file", "nowhere.txt"], 3, "there is no file nowhere.txt"),
        (["map", "a.py:f", "in.jsonl", "--package", "nowhere.whl"], 3, "there is no file nowhere.whl"),
        (["earnings", "--data", "nowhere"], 3, "there is no folder nowhere"),
        (["wallet", "send", "0x" + "11" * 20, "0"], 2, "nothing to send"),
        (["provide", "--memory", "lots"], 2, "no size"),
        (["provide", "--opening", "much"], 2, "no amount"),
        (["provide", "--cores", "4096"], 3, "4096 are lent"),
        (["up", "--memory", "lots"], 2, "no size"),
        (["rm", "-rf"], 2, "A name that begins with a dash comes after --: `surge rm -- NAME...`"),
        (["put", "-x"], 2, "`surge put -- FILE|DIR`"),
    ],
)
def test_a_mistake_is_said_in_a_line(args: list[str], code: int, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(app.surge, args) == code
    assert part in re.sub(r"\s+", " ", capsys.readouterr().err)


def test_the_newest_running_network_is_found_until_it_stops(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "network.json", tmp_path / "b" / "network.json"
    for path in (first, second):
        path.parent.mkdir()
        path.write_text("{}")
        places.point_to(path)
    assert places.find_network() == second
    places.forget(second)
    assert places.find_network() == first, "the one that was there before is there still"
    places.point_to(second)
    places.forget(first)
    assert places.find_network() == second
    places.forget(second)
    with pytest.raises(InvalidInput, match="no network to join"):
        places.find_network()
    places.forget(second)


def test_a_living_network_is_found_before_one_that_was_killed(tmp_path: Path) -> None:
    living, killed = tmp_path / "a" / "network.json", tmp_path / "b" / "network.json"
    for path in (living, killed):
        path.parent.mkdir()
        path.write_text("{}")
    places.point_to(living)
    code = "import sys; from pathlib import Path; from surge.cli import places; places.point_to(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(killed)], check=True, timeout=60)
    assert places.find_network() == living
    places.forget(living)
    assert places.find_network() == killed


def test_who_comes_before_a_network_is_founded_is_told_that_it_starts(tmp_path: Path) -> None:
    coming, killed = tmp_path / "a" / "network.json", tmp_path / "b" / "network.json"
    code = "import sys; from pathlib import Path; from surge.cli import places; places.point_to(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(killed)], check=True, timeout=60)
    with pytest.raises(InvalidInput, match="no network to join"):
        places.find_network()
    places.point_to(coming)
    with pytest.raises(InvalidInput, match=r"a network is starting in .*a: `surge up` prints"):
        places.find_network()
    coming.parent.mkdir()
    coming.write_text("{}")
    assert places.find_network() == coming


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', '{"network": 1}', '{"other": ""}', "[" * 100_000])
def test_a_damaged_pointer_is_said(text: str) -> None:
    pointer = running_folder() / "one.json"
    pointer.parent.mkdir(parents=True)
    pointer.write_text(text)
    with pytest.raises(InvalidInput, match="is damaged"):
        places.find_network()


def test_earnings_are_shown_of_a_network_that_does_not_run(tmp_path: Path) -> None:
    folder = places.default_up() / "providers" / "0"
    assert provider_folders(None) == []
    folder.mkdir(parents=True)
    assert provider_folders(None) == [folder]
    (tmp_path / "net" / "providers" / "7").mkdir(parents=True)
    assert provider_folders(tmp_path / "net") == [tmp_path / "net" / "providers" / "7"]
    assert provider_folders(folder) == [folder]


def test_the_shell_completes_files_where_files_are_meant() -> None:
    completed = ShellComplete(app.surge, {}, "surge", "_SURGE_COMPLETE")
    of_map = (["map", *words] for words in ([], ["work.py:f"], ["-o"], ["--network"]))
    taken = [*of_map, ["check"], ["job", "resume", "-o"], ["receipt", "replay"]]
    for words in taken:
        assert [(each.type, each.value) for each in completed.get_completions(words, "wo")] == [("file", "wo")], words
