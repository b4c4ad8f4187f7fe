"""What the machine says of itself: who uses its processor, and what feeds it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from surge.provider.availability import IDLE_SHARE, LocalHost, runs_on_battery, unavailable
from surge.provider.config import ProviderConfig

IDLE, MAINS = ProviderConfig(when_idle=True), ProviderConfig(on_mains=True)

SPIN = "import os, sys; print(os.getpid(), flush=True)\nwhile True: pass"


def supply(root: Path, name: str, **attributes: str) -> Path:
    folder = root / name
    folder.mkdir(exist_ok=True)
    for attribute, value in attributes.items():
        (folder / attribute).write_text(value + "\n")
    return folder


def test_lending_stops_on_battery_and_goes_on_when_plugged_in(tmp_path: Path) -> None:
    supply(tmp_path, "BAT0", type="Battery", scope="System", status="Charging", capacity="80")
    adapter = supply(tmp_path, "AC", type="Mains", online="1")
    host = LocalHost(tmp_path)
    assert unavailable(host.look(), MAINS) == ""
    (adapter / "online").write_text("0\n")
    (tmp_path / "BAT0" / "status").write_text("Discharging\n")
    assert unavailable(host.look(), MAINS) == "it is on battery"
    assert unavailable(host.look(), ProviderConfig()) == ""
    (adapter / "online").write_text("1\n")
    (tmp_path / "BAT0" / "status").write_text("Full\n")
    assert unavailable(host.look(), MAINS) == ""


@pytest.mark.parametrize(
    ("supplies", "battery"),
    [
        ({}, False),
        ({"AC": {"type": "Mains", "online": "0"}}, False),
        ({"BAT0": {"type": "Battery", "status": "Discharging"}}, True),
        ({"BAT0": {"type": "Battery", "status": "Full"}}, False),
        ({"BAT0": {"type": "Battery", "status": "Unknown"}, "AC": {"type": "Mains", "online": "0"}}, True),
        ({"BAT0": {"type": "Battery", "status": "Discharging"}, "AC": {"type": "Mains", "online": "1"}}, False),
        ({"mouse": {"type": "Battery", "scope": "Device", "status": "Discharging"}}, False),
        ({"mouse": {"type": "Battery", "scope": "Device"}, "AC": {"type": "Mains", "online": "0"}}, False),
        ({"BAT0": {"type": "Battery", "status": "Charging"}, "usb": {"type": "USB", "online": "2"}}, False),
        ({"BAT0": {"type": "Battery", "status": "Not charging"}, "usb": {"type": "USB", "online": "0"}}, False),
        ({"ups": {"type": "UPS", "status": "Discharging"}}, True),
        ({"gone": {}}, False),
    ],
)
def test_what_feeds_the_machine(tmp_path: Path, supplies: dict[str, dict[str, str]], battery: bool) -> None:
    for name, attributes in supplies.items():
        supply(tmp_path, name, **attributes)
    assert runs_on_battery(tmp_path) is battery


@pytest.mark.skipif(not Path("/sys/class/power_supply").is_dir(), reason="the machine does not say what feeds it")
def test_the_machine_we_are_on_is_fed_as_psutil_says() -> None:
    said = psutil.sensors_battery()
    assert LocalHost().look().on_battery == (said is not None and said.power_plugged is False)


class Clock:
    """Stands for `time` where the processor's use is measured."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


def made_up_proc(folder: Path) -> Callable[[int], None]:
    """A /proc with this process alone in it; what is returned says how many seconds of processor time were used since the start."""
    (folder / str(os.getpid())).symlink_to("/proc/self")

    def used(seconds: int) -> None:
        ticks = seconds * os.sysconf("SC_CLK_TCK")
        (folder / "stat").write_text(f"cpu  {1000 + ticks} 0 500 900000 70 0 0 0 0 0\nbtime 1700000000\n")

    used(0)
    return used


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_lending_stops_while_others_use_the_processor_and_goes_on_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    used = made_up_proc(tmp_path)
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    monkeypatch.setattr("surge.provider.availability.time", clock)
    monkeypatch.setattr("surge.provider.availability.os.cpu_count", lambda: 4)
    host = LocalHost(tmp_path / "none")
    said = []
    for seconds in (0, 0, 20, 20 + 3, 20 + 3, 20 + 3 + 40):
        used(seconds)
        said.append((host.look().others, unavailable(host.look(), IDLE)))
        clock.now += 10
    busy = f"its owner uses it: other programs take more than {IDLE_SHARE:.0%} of the processor"
    assert [text for _, text in said] == ["", "", busy, "", "", busy]
    assert [others for others, _ in said] == pytest.approx([0, 0, 0.5, 0.075, 0, 1.0], abs=0.02)


@pytest.fixture
def start() -> Iterator[Callable[[bool], int]]:
    """Starts processes that use a core, and gives their ids: children of ours, or such as are none."""
    started: list[int] = []
    children: list[subprocess.Popen[bytes]] = []

    def start(ours: bool) -> int:
        reading, writing = os.pipe()
        with os.fdopen(reading) as lines:
            if ours:
                children.append(subprocess.Popen([sys.executable, "-c", SPIN], stdout=writing))
            else:  # the shell ends at once, so that nobody of ours is its parent
                subprocess.run(["/bin/sh", "-c", '"$0" -c "$1" & exit 0', sys.executable, SPIN], stdout=writing, check=True)
            os.close(writing)
            started.append(int(lines.readline()))
        return started[-1]

    yield start
    for pid in started:
        end(pid)
    for child in children:
        child.wait(10)


def end(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.kill()
        process.wait(10)


def others(host: LocalHost, holds: Callable[[float], bool]) -> float:
    """What others use, once it holds; what it is after half a minute, otherwise."""
    until = time.monotonic() + 30
    while not holds(now := host.look().others) and time.monotonic() < until:
        time.sleep(0.6)
    return now


def test_a_program_of_somebody_else_makes_the_machine_busy_and_our_own_does_not(start: Callable[[bool], int]) -> None:
    """On the real machine, where other tests may run meanwhile: what they use is the least that others use throughout."""
    host = LocalHost()
    cores = os.cpu_count() or 1
    host.look()
    spinning = [start(False) for _ in range(cores)]
    assert others(host, lambda share: share > IDLE_SHARE) > IDLE_SHARE
    assert "its owner uses it" in unavailable(host.look(), IDLE)
    busy = others(host, lambda share: share > 0.4)
    for pid in spinning:
        end(pid)
    own = [start(True) for _ in range(cores)]
    assert len(own) == cores
    less = 0.75 * busy
    assert others(host, lambda share: share < less) < less
