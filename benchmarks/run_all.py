"""Every benchmark of speed, one after the other; the printed tables are what RESULTS.md holds.

Each runs in a process of its own: a child's peak memory counts what its parent held when it was started.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPTS = ("startup.py", "transplant.py", "precision.py")

if __name__ == "__main__":
    for script in SCRIPTS:
        subprocess.run([sys.executable, str(Path(__file__).with_name(script))], check=True)
