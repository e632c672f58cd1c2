"""tilt/live.py: a command that runs from a copy of the code, and anew when it is told to."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from servers import wait_for

SCRIPT = Path(__file__).resolve().parents[2] / "tilt" / "live.py"
CODE = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("{word}", *sys.argv[1:], flush=True)
if "once" in sys.argv:
    sys.exit(7)
time.sleep(60)
"""


@pytest.fixture
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("live", SCRIPT)
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def write(live: Path, word: str) -> None:
    (live / "eventpipeline").mkdir(parents=True, exist_ok=True)
    (live / "eventpipeline" / "__init__.py").touch()
    (live / "eventpipeline" / "__main__.py").write_text(CODE.format(word=word))


@pytest.fixture
def live(tmp_path: Path) -> Path:
    write(tmp_path / "live", "old")
    return tmp_path / "live"


class Running:
    def __init__(self, live: Path, output: Path, *arguments: str) -> None:
        self._output = output
        code = (
            f"import runpy, sys; from pathlib import Path; sys.argv = ['/opt/live/eventpipeline', *{list(arguments)}]; "
            f"sys.exit(runpy.run_path({str(SCRIPT)!r})['main'](Path({str(live)!r})))"
        )
        with output.open("wb") as file:
            self.process = subprocess.Popen([sys.executable, "-c", code], stdout=file, stderr=file)

    def until(self, *lines: str) -> None:
        wait_for(lambda: self.lines() == list(lines), what=lambda: f"{lines}, there is {self.lines()}")

    def lines(self) -> list[str]:
        return self._output.read_text().splitlines()


@pytest.fixture
def running(live: Path, tmp_path: Path) -> Iterator[Running]:
    found = Running(live, tmp_path / "output", "gateway")
    yield found
    if found.process.poll() is None:
        found.process.terminate()
        found.process.wait(10)


def test_new_code_runs_once_it_is_told_to(running: Running, live: Path) -> None:
    running.until("old gateway")
    write(live, "new")
    (live / "restart").touch()
    running.until("old gateway", "new gateway")
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(10) == 0


def test_a_command_that_ends_by_itself_ends_with_its_own_code(live: Path, tmp_path: Path) -> None:
    once = Running(live, tmp_path / "once", "migrate", "once")
    assert once.process.wait(10) == 7
    assert once.lines() == ["old migrate once"]


def test_the_code_of_the_image_is_copied_once(module: ModuleType, live: Path, tmp_path: Path) -> None:
    for name in ("eventpipeline", "charts"):
        (tmp_path / "image" / name).mkdir(parents=True)
        (tmp_path / "image" / name / "file").write_text("of the image")
    (live / "charts.new").mkdir()  # of a start that was killed
    module.copy(live, [tmp_path / "image" / name for name in ("eventpipeline", "charts", "not-there")])
    assert not (live / "eventpipeline" / "file").exists(), "what Tilt wrote stays"
    assert (live / "charts" / "file").read_text() == "of the image"
    assert sorted(path.name for path in live.iterdir()) == ["charts", "eventpipeline"]
