from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .processes import PACKAGE, SAMPLE, Done, run_pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the sample runs shells")

RUNS_BESIDE_OTHERS = 2
ROOT = Path(__file__).parent.parent.parent

SLEEPS = """
import asyncio, sys, time

async def block(seconds=0.3):
    time.sleep(seconds)
"""


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """Away from this suite's own conftest."""
    folder = tmp_path / "sample"
    shutil.copytree(SAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def burning() -> Iterator[None]:
    """Two processes that take all the CPU they are given."""
    burners = [subprocess.Popen([sys.executable, "-c", "while 1: pass"]) for _ in range(2)]
    yield
    for burner in burners:
        burner.kill()
        burner.wait()


def suite(folder: Path, source: str, **files: str) -> Path:
    """A folder with one file of tests."""
    (folder / "test_shop.py").write_text(SLEEPS + source)
    for name, text in files.items():
        (folder / name.replace("_dot_", ".")).write_text(text)
    return folder


ini = "[pytest]\nasyncio_default_fixture_loop_scope = function\n"


# What must not fail, or happen


def test_without_the_option_nothing_is_watched(sample: Path) -> None:
    """Whatever the tests do, and whatever they are marked with."""
    done = run_pytest("suite.py", "-k", "sleeping or as_it_may", "--strict-markers", cwd=sample)

    assert {outcome for one in done.outcomes.values() for outcome in one} == {"PASSED"}
    assert "event loop" not in done.output
    assert len(done.outcomes) >= 3


def test_pytest_starts_without_the_package(tmp_path: Path) -> None:
    """Nothing of it is imported but the plugin's own module."""
    suite(
        tmp_path,
        "import sys\n"
        "def test_it():\n"
        "    ours = {name for name in sys.modules if name.startswith('sentry_loopstall')}\n"
        "    assert ours == {'sentry_loopstall', 'sentry_loopstall.pytest_plugin'}\n"
        "    assert 'sentry_sdk' not in sys.modules\n",
    )
    assert run_pytest(cwd=tmp_path).status == 0


def cost_of_importing(plugin: str, folder: Path) -> float:
    """CPU seconds, the least of some tries."""
    code = (
        "import pytest, time, importlib, typing, copy\n"
        "started = time.process_time()\n"
        f"import {plugin}\n"
        "print(time.process_time() - started)\n"
    )
    python = [sys.executable, "-c", code]
    tries = [
        subprocess.run(python, cwd=folder, capture_output=True, text=True, check=True).stdout
        for _ in range(7)
    ]
    return min(map(float, tries))


def test_that_costs_less_than_a_millisecond(tmp_path: Path) -> None:
    """More than a package without content, whatever the machine is busy with."""
    (tmp_path / "hollow").mkdir()
    for name in ("__init__", "plugin"):
        (tmp_path / "hollow" / f"{name}.py").write_text("")

    ours = cost_of_importing("sentry_loopstall.pytest_plugin", PACKAGE)

    assert ours - cost_of_importing("hollow.plugin", tmp_path) < 0.001


def test_a_prompt_is_no_stall(tmp_path: Path) -> None:
    """Who sits at it knows that the loop waits."""
    suite(
        tmp_path,
        "def test_it():\n    async def ask():\n        breakpoint()\n    asyncio.run(ask())\n",
    )
    script = "import time; time.sleep(1.5); print('continue', flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as typist:
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-rA", "--loopstall"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(PACKAGE)},
            stdin=typist.stdout,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    done = Done(run.returncode, run.stdout)
    assert "(Pdb)" in done.output
    assert done.outcomes == {"test_it": {"PASSED"}}


def test_a_client_that_is_there_hears_nothing(tmp_path: Path) -> None:
    """Neither of what the test does, nor twice."""
    suite(
        tmp_path,
        "import sentry_sdk\n"
        "from sentry_loopstall import LoopStallIntegration\n"
        "heard = []\n"
        "def start():\n"
        "    sentry_sdk.init(dsn='http://public@127.0.0.1:9/1',\n"
        "        before_send=lambda event, hint: heard.append(event),\n"
        "        integrations=[LoopStallIntegration(threshold=0.05, on_stall=heard.append)])\n"
        "def test_one():\n    start()\n    asyncio.run(block())\n"
        "def test_two():\n    asyncio.run(block())\n"
        "def test_three():\n    assert heard == []\n",
        conftest_dot_py="import sentry_sdk\nfrom sentry_loopstall import LoopStallIntegration\n"
        "sentry_sdk.init(integrations=[LoopStallIntegration(on_stall=print)])\n",
    )
    done = run_pytest("--loopstall", cwd=tmp_path)
    assert done.outcomes == {
        "test_one": {"FAILED"},
        "test_two": {"FAILED"},
        "test_three": {"PASSED"},
    }


def test_a_forked_child_is_no_test(tmp_path: Path) -> None:
    """What blocks there blocks none of the loops of the tests."""
    suite(
        tmp_path,
        "import os\n"
        "def test_it():\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        asyncio.run(block())\n"
        "        os._exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == 0\n",
    )
    assert run_pytest("--loopstall", cwd=tmp_path).outcomes == {"test_it": {"PASSED"}}


# What fails


@pytest.mark.measured
def test_the_sample_fails_as_its_names_say(sample: Path) -> None:
    """One of each cause, healthy ones, marked ones, fixtures of every scope."""
    done = run_pytest("suite.py", "--loopstall", cwd=sample)

    assert done.wrong() == []
    assert len(done.outcomes) > 40
    assert done.status == 1
    assert re.search(r"^the machine's doing: process_suspended for 0", done.output, re.MULTILINE)


@pytest.mark.measured
def test_so_it_does_under_xdist(sample: Path) -> None:
    """Two at once, and one summary of all."""
    done = run_pytest("suite.py", "--loopstall", "-n", "2", "--dist", "loadgroup", cwd=sample)

    assert done.wrong() == []
    assert len(done.outcomes) > 40
    assert done.output.count("sentry_loopstall: what blocked the event loop") == 1
    assert re.search(r"^ +1[0-9] +\d+\.\d\d s .* suite\.nap \(", done.output, re.MULTILINE)


@pytest.mark.measured
def test_so_it_does_beside_busy_processes(sample: Path, burning: None) -> None:
    """No healthy one fails, none of those that block passes."""
    for _ in range(RUNS_BESIDE_OTHERS):
        assert run_pytest("suite.py", "--loopstall", cwd=sample).wrong() == []


SLOW_TO_START = """
import time
from sentry_loopstall.watch import life

start = life.start_hidden

def starved(body, name):
    start(lambda: (time.sleep(starved.seconds), body()), name)

starved.seconds = 0.6
life.start_hidden = starved
"""


def test_a_run_waits_for_a_watcher_that_is_slow_to_start(tmp_path: Path) -> None:
    """And that is nobody's stall; it does so for a second at most."""
    suite(
        tmp_path,
        "def test_fails():\n    asyncio.run(block())\n"
        "def test_passes():\n    asyncio.run(asyncio.sleep(0.01))\n"
        "def test_waits_a_second():\n"
        "    time.sleep(0.1)\n"  # the thread of the one before is gone
        "    sys.modules['sentry_loopstall.watch.life'].start_hidden.seconds = 3\n"
        "    began = time.monotonic()\n"
        "    asyncio.run(asyncio.sleep(0))\n"
        "    assert 0.9 < time.monotonic() - began < 2.9\n",
        conftest_dot_py=SLOW_TO_START,
    )
    done = run_pytest("--loopstall", cwd=tmp_path)
    assert done.outcomes == {
        "test_fails": {"FAILED"},
        "test_passes": {"PASSED"},
        "test_waits_a_second": {"PASSED"},
    }, done.output


def test_the_failure_is_the_terminals_account(tmp_path: Path) -> None:
    """Culprit, line, call, cause and cure, and in the short summary the title."""
    suite(tmp_path, "def test_it():\n    asyncio.run(block())\n")
    done = run_pytest("--loopstall", cwd=tmp_path)

    assert done.outcomes == {"test_it": {"FAILED"}}
    for line in (
        r"test_shop\.block blocked the event loop for 0\.3\d s in time\.sleep\(seconds\)",
        r"  blocking_call: The event loop waited in a call.*",
        r"  Use `await asyncio\.sleep\(\)`.*",
        r"  > test_shop\.py:5 in block",
        r"FAILED test_shop\.py::test_it - Failed: test_shop\.block blocked the event loop for.*",
        r" +1 +0\.3\d s +0\.3\d s  test_shop\.block \(test_shop\.py:5\)",
    ):
        assert re.search(f"^{line}$", done.output, re.MULTILINE), line


@pytest.mark.parametrize(
    ("arguments", "settings", "outcome"),
    [
        (["--loopstall"], "", "FAILED"),
        (["--loopstall", "test_shop.py"], "", "FAILED"),
        (["--loopstall=0.1"], "", "FAILED"),
        (["--loopstall=2"], "", "PASSED"),
        ([], "loopstall_threshold = 0.1", "FAILED"),
        ([], "loopstall_threshold = 2", "PASSED"),
        (["--loopstall=0.1"], "loopstall_threshold = 2", "FAILED"),
        (["--loopstall"], "loopstall_threshold = 2", "PASSED"),
        (["--loopstall"], "loopstall_ignore =\n    other.*\n    test_shop.blo*", "PASSED"),
        (["--loopstall"], "loopstall_ignore = cause:blocking_call", "PASSED"),
        (["--loopstall"], "loopstall_ignore = blocking_call", "FAILED"),
        ([], "addopts = --loopstall", "FAILED"),
        (["-p", "no:loopstall"], "", "PASSED"),
    ],
)
def test_how_it_is_asked_for(
    tmp_path: Path, arguments: list[str], settings: str, outcome: str
) -> None:
    suite(
        tmp_path, "def test_it():\n    asyncio.run(block())\n", pytest_dot_ini=f"{ini}{settings}\n"
    )

    assert run_pytest(*arguments, cwd=tmp_path).outcomes == {"test_it": {outcome}}


@pytest.mark.parametrize("value", ["soon", "0", "nan", "-1"])
def test_a_bad_threshold_is_said_in_a_sentence(tmp_path: Path, value: str) -> None:
    suite(tmp_path, "def test_it(): pass\n")
    done = run_pytest(f"--loopstall={value}", cwd=tmp_path)

    assert done.status == pytest.ExitCode.USAGE_ERROR
    assert "loopstall: threshold must be a number of seconds, at least 0.01" in done.output


def test_a_bad_marker_is_an_error_of_its_test(tmp_path: Path) -> None:
    suite(
        tmp_path,
        "import pytest\n"
        "@pytest.mark.loopstall\n"
        "def test_none(): pass\n"
        "@pytest.mark.loopstall('soon')\n"
        "def test_text(): pass\n"
        "def test_good(): pass\n",
    )
    done = run_pytest("--loopstall", cwd=tmp_path)

    assert done.outcomes == {
        "test_none": {"ERROR"},
        "test_text": {"ERROR"},
        "test_good": {"PASSED"},
    }


def test_a_test_that_fails_by_itself_fails_by_that(tmp_path: Path) -> None:
    """And says what it blocked, too."""
    suite(tmp_path, "def test_it():\n    asyncio.run(block())\n    assert 1 == 2\n")
    done = run_pytest("--loopstall", cwd=tmp_path)

    assert "FAILED test_shop.py::test_it - assert 1 == 2" in done.output
    assert "test_shop.block blocked the event loop for" in done.output


def test_one_that_is_expected_to_fail_may_fail_so(tmp_path: Path) -> None:
    suite(
        tmp_path,
        "import pytest\n"
        "@pytest.mark.xfail(strict=True)\n"
        "def test_it():\n    asyncio.run(block())\n",
    )
    assert run_pytest("--loopstall", cwd=tmp_path).outcomes == {"test_it": {"XFAIL"}}


def test_a_test_that_runs_again_is_judged_again(tmp_path: Path) -> None:
    """By pytest-rerunfailures."""
    pytest.importorskip("pytest_rerunfailures")
    suite(
        tmp_path,
        "runs = []\n"
        "def test_it():\n"
        "    runs.append(1)\n"
        "    asyncio.run(block(0.3 if len(runs) == 1 else 0.001))\n",
    )
    done = run_pytest("--loopstall", "--reruns", "2", cwd=tmp_path)

    assert done.outcomes == {"test_it": {"RERUN", "PASSED"}}


def test_a_stall_stops_at_the_prompt_that_is_asked_for(tmp_path: Path) -> None:
    """`pytest --pdb`, with the account printed before."""
    suite(
        tmp_path,
        "def test_it():\n    asyncio.run(block())\ndef test_good():\n    asyncio.run(block(0))\n",
    )
    done = run_pytest("--loopstall", "--pdb", cwd=tmp_path, stdin="continue\n")

    assert done.outcomes == {"test_it": {"FAILED"}, "test_good": {"PASSED"}}
    before, _, _ = done.output.partition("(Pdb)")
    assert "test_shop.block blocked the event loop for" in before


def test_github_marks_the_line(tmp_path: Path) -> None:
    """Of each failure, by the path in the workspace."""
    suite(tmp_path, "def test_it():\n    asyncio.run(block())\n")
    done = run_pytest(
        "--loopstall", cwd=tmp_path, GITHUB_ACTIONS="true", GITHUB_WORKSPACE=str(tmp_path.parent)
    )
    (command,) = re.findall(r"^::error .*$", done.output, re.MULTILINE)
    assert command.startswith(
        f"::error title=event loop blocked,file={tmp_path.name}/test_shop.py,line=5::"
        "test_shop.block blocked the event loop for"
    )
    assert "%0AUse `await asyncio.sleep()`" in command
    assert command.endswith("%0Atest_shop.py::test_it")


def test_off_by_the_environment_it_says_so(tmp_path: Path) -> None:
    suite(tmp_path, "def test_it():\n    asyncio.run(block())\n")
    done = run_pytest("--loopstall", cwd=tmp_path, SENTRY_LOOPSTALL_ENABLED="0")

    assert done.outcomes == {"test_it": {"PASSED"}}
    assert "loopstall: off, SENTRY_LOOPSTALL_ENABLED" in done.output


# The page about it


def test_the_page_is_true(tmp_path: Path) -> None:
    """Its configuration is one, and its tests pass by their markers alone."""
    page = (ROOT / "docs" / "tests.md").read_text(encoding="utf-8")
    (settings,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tests,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "pyproject.toml").write_text(
        f'{settings}asyncio_default_fixture_loop_scope = "function"\n'
    )
    (tmp_path / "test_page.py").write_text(tests)
    unmarked = re.sub(r"^@pytest.mark.loopstall.*\n", "", tests, flags=re.MULTILINE)
    (tmp_path / "test_without.py").write_text(unmarked.replace("def test_may", "def test_may_not"))

    outcomes = run_pytest("--strict-markers", cwd=tmp_path).outcomes

    assert {name: outcome for name, outcome in outcomes.items() if "not" not in name} == {
        "test_may_take_longer": {"PASSED"},
        "test_may_take_as_long_as_it_wants": {"PASSED"},
    }
    assert {name: outcome for name, outcome in outcomes.items() if "not" in name} == {
        "test_may_not_take_longer": {"FAILED"},
        "test_may_not_take_as_long_as_it_wants": {"FAILED"},
    }
    commands = re.findall(r"^pytest (\S+)", page, re.MULTILINE)
    assert commands == ["--loopstall", "--loopstall=0.5"]
