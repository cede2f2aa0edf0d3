"""The same on uvloop."""

from dataclasses import replace

from benchmarks.work import Setting
from benchmarks.works import idle

_wakes, _cpu = idle.WORK.figures

WORK = replace(
    idle.WORK,
    title="idle, uvloop",
    setting=Setting(loop="uvloop"),
    figures=(replace(_wakes, at_most=10.0), replace(_cpu, at_most=0.1, key=True)),
)
