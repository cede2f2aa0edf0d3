"""The same load without a stall."""

from dataclasses import replace

from benchmarks.figures import Against, Figure
from benchmarks.work import Size
from benchmarks.works import stalls

WORK = replace(
    stalls.WORK,
    title="the same load without a stall",
    what="CPU of all threads but the event loop's.",
    figures=(Figure("others", "%", Against.DIFFERENCE, digits=2, key=True),),
    size=Size(20, 0),
    quick=Size(4, 0),
)
