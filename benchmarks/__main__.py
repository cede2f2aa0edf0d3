"""All benchmarks, one after the other: `python -m benchmarks`."""

from benchmarks import storm

if __name__ == "__main__":
    storm.main()
