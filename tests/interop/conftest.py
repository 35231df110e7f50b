"""The tests of sources have networks whose every layer fires; they are used here, too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "gradients"))
