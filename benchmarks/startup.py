"""Times how long a bundle takes to give its first answer: a process that imports, opens a session and infers once, again and again.

    python benchmarks/startup.py                        MobileNetV2 32x32 with 10 levels, made here
    python benchmarks/startup.py --bundle runs/a/bundle another bundle

The first start compiles: programs, verdicts on the device and the OpenCL runtime's own cache are in a folder that is empty before it.
Every later start finds them there.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bundles import mobilenetv2_bundle

START = """
import sys
import numpy as np
import mobiprox_core as mobiprox
session = mobiprox.Session.open(sys.argv[1])
session.infer(np.zeros(session.bundle.plan.inputs[0].shape, np.float32))
print(session.program)
"""


def start(bundle: Path, cache: Path) -> tuple[float, str]:
    """Seconds of a whole process, its interpreter included; and where its program came from."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", START, str(bundle)],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - begin
    if done.returncode:
        sys.exit(done.stderr)
    return seconds, done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--bundle", type=Path, help="its levels and network; made here if left out")
    parser.add_argument("--starts", type=int, default=11, help="later starts to take the median of (11)")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mobiprox-startup-") as folder:
        bundle = wanted.bundle or mobilenetv2_bundle(Path(folder) / "bundle", levels=10)
        cache = Path(folder) / "cache"
        cache.mkdir()
        first, how = start(bundle, cache)
        print(f"first start: {first:.2f} s ({how})")
        later = [start(bundle, cache) for _ in range(wanted.starts)]
        seconds = sorted(s for s, _ in later)
        sources = {re.sub(r" \(.*\)", "", source) for _, source in later}
        print(
            f"second start: {median(seconds):.2f} s, median of {len(seconds)}; {seconds[0]:.2f} to {seconds[-1]:.2f} s ({', '.join(sources)})"
        )


if __name__ == "__main__":
    main()
