"""Measurements, one module for each subject. The networks that are measured are those of the tests, whose support modules this lets in."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))
