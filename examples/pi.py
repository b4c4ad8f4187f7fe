"""Estimate pi by throwing darts, on every device there is: `python examples/pi.py` while `surge up` runs.

Each item draws from its own stream, whatever device runs it, so the estimate is the same every time.
"""

import random

import surge

THROWS = 20_000


def inside(_batch: int) -> int:
    """Throw darts at a square and count those that land in the circle."""
    return sum(random.random() ** 2 + random.random() ** 2 <= 1 for _ in range(THROWS))


def main(batches: int = 40) -> float:
    """The estimate from `batches` batches."""
    with surge.connect() as network:
        hits = sum(network.map(inside, range(batches)))
    return 4 * hits / (batches * THROWS)


if __name__ == "__main__":
    print(main())
