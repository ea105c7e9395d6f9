"""``python tests/fuzz.py [COUNT] [SECONDS]``: COUNT damaged bundles through the sanitized loader, a tenth as many damaged
strategies through the walker, then libFuzzer for SECONDS.

No crash, no leak, and every refusal has a reason. Edits that leave a whole bundle (another name, another latency) are taken; Python's
reader has to take them too.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from mobiprox_backend_native.build import build_runner  # noqa: E402
from mutations import INDEX, PLAN, PROGRAM, WEIGHTS, Mutator, check  # noqa: E402
from native_bundles import CACHE, SANITIZERS, tiny_bundle  # noqa: E402
from test_native_strategies import edited_lines, walk  # noqa: E402

from mobiprox_core import bundle as bundles  # noqa: E402

FUZZER = SANITIZERS | {"MOBIPROX_FUZZ": "ON", "CMAKE_C_COMPILER": "clang"}


def damaged(runner: Path, source: Path, place: Path, count: int, seed: int = 0) -> Counter[str]:
    """How often each reason was given; "" for whole bundles. Raises RuntimeError or BundleError where the loader did wrong."""
    mutator, reasons = Mutator(source, seed), Counter[str]()
    folders = [place / str(i) for i in range(min(500, count))]
    while (done := reasons.total()) < count:
        for folder in folders:
            mutator.write(folder)
        for folder, verdict in zip(folders[: count - done], check(runner, folders[: count - done]), strict=True):
            if verdict["ok"]:
                bundles.read(folder)
            reason = str(verdict.get("error", "")).rpartition(": ")[2]
            reasons["".join(c for c in reason if not c.isdigit())[:40]] += 1
    return reasons


def fuzzed(fuzzer: Path, source: Path, place: Path, *limits: str) -> str:
    """What libFuzzer says at its end, beginning with a bundle. Raises RuntimeError with its output where it found something."""
    (place / "corpus").mkdir()
    contents = [(source / name).read_bytes() for name in (INDEX, PLAN, WEIGHTS, PROGRAM)]
    (place / "corpus" / "whole").write_bytes(b"".join(len(content).to_bytes(4, "little") + content for content in contents))
    command = [fuzzer, *limits, "-max_len=65536", "-timeout=10", f"-artifact_prefix={place}/", place / "corpus"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise RuntimeError(f"the fuzzer ended with {done.returncode}\n{done.stderr[-6000:]}")
    return done.stderr.strip().splitlines()[-1]


def walked(runner: Path, count: int) -> int:
    """How many of the strategies with damaged options walk all the same. Raises RuntimeError where the runner did not come to its end."""
    [*answers, end] = walk(runner, edited_lines(count, seed=0))
    if (len(answers), end["event"]) != (count, "end"):
        raise RuntimeError(f"the runner ended after {len(answers)} of {count} strategies")
    return sum(answer["event"] == "walked" for answer in answers)


def main() -> None:
    count, seconds = (int(text) for text in (sys.argv[1:] + ["100000", "60"][len(sys.argv) - 1 :]))
    place = Path(tempfile.mkdtemp(prefix="mobiprox-fuzz-"))
    source = tiny_bundle(place / "whole")
    reasons = damaged(build_runner(CACHE, SANITIZERS), source, place, count)
    print(f"{count} edited bundles under AddressSanitizer and UndefinedBehaviorSanitizer: no crash, no leak;")
    print(
        f"{count - reasons['']} refused with a reason ({len(reasons) - 1} different ones), {reasons['']} whole still, as Python's reader says"
    )
    print(f"{count // 10} strategies with edited options: {walked(build_runner(CACHE, SANITIZERS), count // 10)} walk all the same")
    print(fuzzed(build_runner(CACHE, FUZZER, target="mbx-fuzz"), source, place, f"-max_total_time={seconds}"))
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
