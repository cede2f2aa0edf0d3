"""All benchmarks, one after the other: `python -m benchmarks`."""

from benchmarks import per_event, shared_limits, storm

if __name__ == "__main__":
    storm.main()
    per_event.main()
    shared_limits.main()
