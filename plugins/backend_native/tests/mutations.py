"""Damaged bundles by the thousand, and what the native loader says of them."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

INDEX, PLAN, WEIGHTS, PROGRAM = "bundle.json", "plan.json", "weights.safetensors", "kernels/program.cl"
ODD_VALUES: list[Any] = [
    *(-1, 0, 1, 2, 63, 64, 1025, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**32, 2**53, 2**63, 2**64, 10**40),
    *(0.5, -0.5, 1.5, 1e308, 1e-320, True, False, None, "", "exact", "a(b=1)", "x" * 300, "\x00", "é\n", "0", "F16", "float16"),
    *([], {}, [[]], [0], [1, 1, 1, 1], {"name": 0}, {"": {}}),
]
SETTINGS = (
    "exact",
    "exact + exact",
    "a()",
    "a (b = 007)",
    "a(b=1, b=1)",
    "a(b)",
    "(b=1)",
    "a(b=1",
    "a)b(",
    "+",
    " a + b(c=d) ",
    "a(=)",
    "a(b=1)c",
)


def mutated_json(document: Any, rng: random.Random) -> Any:
    """One to three edits anywhere in the document."""
    result = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(result))
        if not places:
            break
        _edit(*rng.choice(places), rng)
    return result


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key or index)."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


def _edit(container: Any, key: Any, rng: random.Random) -> None:
    value = container[key]
    kind = rng.randrange(8)
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, list):
        container.insert(key, copy.deepcopy(value))
    elif kind == 2 and isinstance(container, dict):
        container[f"{key}{rng.choice(('', 'x', '_'))}{rng.randrange(3)}"] = copy.deepcopy(value)
    elif kind == 3 and isinstance(value, int | float) and not isinstance(value, bool):
        container[key] = value + rng.choice((-1, 1, 16, -16, 2**20))
    elif kind == 4 and isinstance(value, int) and not isinstance(value, bool):
        container[key] = value * rng.choice((-1, 2, 1000))
    elif kind == 5 and isinstance(value, str):
        container[key] = rng.choice(SETTINGS)
    elif kind == 6 and isinstance(container, list):
        rng.shuffle(container)
    else:
        container[key] = copy.deepcopy(rng.choice(ODD_VALUES))


def mutated_bytes(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            del changed[at:]
        elif kind == 1:
            changed[at : at + rng.randrange(1, 40)] = b""
        elif kind == 2:
            changed[at:at] = rng.choice((b"[" * 2000, b"\xff", b"\x00", b'"', b"}", b"1e999", b"-", b"\\u0000", b"\\ud800", bytes(64)))
        elif changed:
            changed[at % len(changed)] = rng.choice((rng.randrange(256), changed[at % len(changed)] ^ (1 << rng.randrange(8))))
        if not changed:
            break
    return bytes(changed)


def mutated_weights(content: bytes, rng: random.Random) -> bytes:
    """The header edited as JSON, its length or alignment changed, or data cut off."""
    size = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + size], content[8 + size :]
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice((0, 1, size - 1, size + 1, size + 64, 2**31, 2**63, 2**64 - 8, 2**64 - 1)).to_bytes(8, "little") + content[8:]
    if kind == 1:
        return content[: 8 + size] + rng.choice((data[:-1], data + bytes(64), b"", data[64:]))
    edited = json.dumps(mutated_json(json.loads(header), rng)).encode()
    edited += b" " * (-(8 + len(edited)) % 64)
    return len(edited).to_bytes(8, "little") + edited + data


class Mutator:
    """Damaged copies of a bundle. `structured`: only edits of values, whose verdict Python's reader can be asked for."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.contents = {name: (folder / name).read_bytes() for name in (INDEX, PLAN, WEIGHTS, PROGRAM)}
        self.index, self.plan = json.loads(self.contents[INDEX]), json.loads(self.contents[PLAN])
        self.rng = random.Random(seed)

    def write(self, folder: Path, structured: bool = False) -> None:
        rng, contents, index = self.rng, dict(self.contents), self.index
        kind = rng.randrange(5)
        if kind == 0:
            index = mutated_json(index, rng)
        elif kind == 1:
            contents[PLAN] = json.dumps(mutated_json(self.plan, rng), allow_nan=False).encode()
        elif kind == 2:
            contents[WEIGHTS] = mutated_weights(contents[WEIGHTS], rng)
        elif kind == 3 or structured:
            contents[PLAN] = json.dumps(mutated_json(self.plan, rng)).encode()
        else:
            name = rng.choice((INDEX, PLAN, WEIGHTS, PROGRAM))
            contents[name] = mutated_bytes(contents[name], rng)
        contents[INDEX] = self._signed(index, contents) if contents[INDEX] is self.contents[INDEX] else contents[INDEX]
        (folder / "kernels").mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_bytes(content)

    def _signed(self, index: Any, contents: dict[str, bytes]) -> bytes:
        """The index with the digests of the other files as they are now, mostly."""
        index = copy.deepcopy(index)
        if self.rng.random() < 0.97 and isinstance(index, dict) and isinstance(index.get("files"), dict):
            for name in set(index["files"]) & {PLAN, WEIGHTS, PROGRAM}:
                entry = {"size_bytes": len(contents[name]), "sha256": hashlib.sha256(contents[name]).hexdigest()}
                if isinstance(index["files"][name], dict) and set(index["files"][name]) == set(entry):
                    index["files"][name] = entry
        return json.dumps(index).encode()


def check(runner: Path, folders: list[Path]) -> list[dict[str, Any]]:
    """The loader's verdicts. Raises RuntimeError where it crashed, leaked or refused without a reason."""
    done = subprocess.run([runner, "--check"], input="".join(f"{f}\n" for f in folders), capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode or lines[-1] != {"event": "end", "ok": True} or len(lines) != len(folders) + 1:
        raise RuntimeError(f"the loader ended with {done.returncode} after {len(lines)} of {len(folders)} bundles\n{done.stderr[-6000:]}")
    for folder, verdict in zip(folders, lines, strict=False):
        if not verdict["ok"] and not verdict.get("error"):
            raise RuntimeError(f"{folder} is refused without a reason")
    return lines[:-1]
