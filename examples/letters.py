"""Store files, and count their letters where they are read: `python examples/letters.py FILE...` while `surge up` runs."""

import sys
from collections import Counter
from pathlib import Path

import surge


def count(path: str) -> dict[str, int]:
    """How often each letter stands in a stored file. It is opened on the device, which reads it from those who hold it."""
    with open(path, encoding="utf-8") as file:
        return dict(Counter(letter for letter in file.read().lower() if letter.isalpha()))


def main(paths: list[str]) -> dict[str, dict[str, int]]:
    """The letters of each file."""
    with surge.connect() as network:
        for path in paths:
            network.files.put(path, f"letters/{Path(path).name}")
        names = network.files.glob("letters/*")
        return dict(zip(map(str, names), network.map(count, names), strict=True))


if __name__ == "__main__":
    for name, letters in main(sys.argv[1:]).items():
        print(name, sum(letters.values()), sorted(letters, key=lambda letter: -letters[letter])[:5])
