"""Commands that compute next to nothing against `import click`: `python tests/benchmarks/start_up.py`."""

from __future__ import annotations

import sys

from timing import compare

CNNCLI = [sys.executable, "-m", "cnncli"]

if __name__ == "__main__":
    for args in (["--help"], ["models", "list"], ["shapes", "lenet"], ["filter", "--kernel", "sobel-h"]):
        ours = [*CNNCLI, *args]
        ratio = compare(f"cnncli {' '.join(args)}", ours, [sys.executable, "-c", "import click"], runs=15)
        print(f"  so it takes {1 / ratio:.2f} times the import of click; the target is at most 3\n")
