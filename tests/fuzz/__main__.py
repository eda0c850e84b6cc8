"""`python tests/fuzz`: see `hunt`."""

import os
import sys
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # before torch is loaded: what is forked must have no threads
sys.path[0] = str(Path(__file__).parent.parent)

from fuzz.hunt import main  # noqa: E402 -- once the threads are set

sys.exit(main())
