"""Runs as a process of its own: stands for a tool that turns an order into a PDF document."""

from __future__ import annotations

import sys
import time

if __name__ == "__main__":
    time.sleep(0.5)
    print(f"invoice-{sys.argv[1]}.pdf")
