"""Count the words of many texts and put the counts together: `python examples/words.py FILE...` while `surge up` runs."""

import re
import sys
from collections import Counter
from pathlib import Path

import surge


def count(text: str) -> dict[str, int]:
    """How often each word stands in a text."""
    return dict(Counter(re.findall(r"[a-z']+", text.lower())))


def main(paths: list[str]) -> list[tuple[str, int]]:
    """The ten most frequent words of all files."""
    total: Counter[str] = Counter()
    with surge.connect() as network:
        for counts in network.map(count, (Path(path).read_text() for path in paths)):
            total.update(counts)
    return total.most_common(10)


if __name__ == "__main__":
    for word, times in main(sys.argv[1:]):
        print(f"{times:6} {word}")
