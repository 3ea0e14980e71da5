"""The makers of experiment folders are shared with the tests of a search's outputs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "search_outputs"))
