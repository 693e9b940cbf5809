"""Every benchmark of speed, one after the other; the printed tables are what RESULTS.md holds."""

from __future__ import annotations

import precision
import startup
import transplant

if __name__ == "__main__":
    startup.main()
    transplant.main()
    precision.main()
