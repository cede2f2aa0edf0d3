"""A process of its own, which has to find what this module defines."""

from __future__ import annotations

import multiprocessing


def double(number: int) -> int:
    return number * 2


def main() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(double, [1, 2, 3]))


if __name__ == "__main__":
    main()
