"""The same on uvloop."""

from dataclasses import replace

from benchmarks.work import Setting, Size
from benchmarks.works import sleep_storm

WORK = replace(
    sleep_storm.WORK,
    title="`sleep(0)` storm, uvloop",
    setting=Setting(loop="uvloop"),
    size=Size(20, 60_000),
    quick=Size(4, 40_000),
)
