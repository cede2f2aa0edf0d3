"""All benchmarks, one after the other: `python -m benchmarks`."""

from benchmarks import per_event, storm

if __name__ == "__main__":
    storm.main()
    per_event.main()
