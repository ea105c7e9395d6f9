"""What a run leaves behind so that it can be taken up again: a ledger of finished stages, and a journal of single measurements."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .cache import cache_folder
from .errors import UsageError

Json = Any

LEDGER = "run.json"
RESULTS = ("result.json", "report.html")
"""What a run leaves when it is done; until then there is none."""

JOURNAL = "journal.jsonl"


def digest(value: Json | bytes) -> str:
    """SHA-256, in hexadecimal, of bytes or of a JSON value (keys in any order)."""
    from hashlib import sha256

    raw = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    return sha256(raw).hexdigest()


def digest_file(path: Path) -> str:
    from hashlib import file_digest

    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Json) -> None:
    """Written whole or not at all: an interruption leaves the old file. NaN is refused: it is not JSON."""
    replacement = path.with_name(path.name + ".part")
    replacement.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(replacement, path)


class Journal:
    """Measurements by key, one JSON line each, so that an interruption loses at most the one in progress."""

    def __init__(self, path: Path, scope: str) -> None:
        """scope: digest of all that the measurements depend on; lines of other scopes are left alone."""
        self._path = path
        self._scope = scope
        self._known: dict[str, Json] = {}
        self._torn = False
        if path.exists():
            raw = path.read_bytes()
            self._torn = bool(raw) and not raw.endswith(b"\n")  # the line that was being written when a run was interrupted
            for line in raw.decode("utf-8", "replace").splitlines():
                try:
                    entry = json.loads(line)
                    self._known[entry["key"]] = entry["value"]
                except (ValueError, KeyError, TypeError):
                    continue  # a damaged line is a measurement lost, no more

    def __len__(self) -> int:
        """How many measurements there are, of all scopes."""
        return len(self._known)

    def recall(self, *what: str | int | Sequence[str]) -> Json | None:
        """The value noted under `what`, or None."""
        return self._known.get(self._key(what))

    def note(self, *what: str | int | Sequence[str], value: Json) -> Json:
        """Write a value down, and return it."""
        line = json.dumps({"key": self._key(what), "what": what, "value": value}, allow_nan=False)
        with self._path.open("ab", buffering=0) as file:  # one write, so that lines of two runs do not mix
            file.write(("\n" * self._torn + line + "\n").encode())
        self._torn = False
        self._known[self._key(what)] = value
        return value

    def _key(self, what: tuple[str | int | Sequence[str], ...]) -> str:
        return digest([self._scope, *what])


def shared_journal(kind: str, scope: str) -> Journal:
    """The journal of everything with this scope, whatever run measures it."""
    folder = cache_folder() / kind
    folder.mkdir(exist_ok=True)
    return Journal(folder / f"{scope}.jsonl", scope)


class Ledger:
    """The stages of one run in one folder: what each depended on, how long it took, the files it left."""

    def __init__(self, folder: Path, *, resume: bool, say: Callable[[str, str], None] = lambda stage, text: None) -> None:
        """Without `resume` the run starts afresh and overwrites its own files, never others. say: told a stage's name, and why it is done.

        Raises UsageError where the folder cannot be written.
        """
        self.folder = folder
        self._say = say
        self._stages: dict[str, dict[str, Json]] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if resume:
                self._stages = _read_ledger(folder / LEDGER)
            else:
                for outdated in (JOURNAL, *RESULTS):
                    (folder / outdated).unlink(missing_ok=True)
                write_json(folder / LEDGER, {"schema": 1, "stages": {}})
        except OSError as error:
            raise UsageError(f"cannot write there: {error.strerror}", where=str(folder), mend="choose another folder with --out") from error

    @property
    def seconds(self) -> Mapping[str, float]:
        """How long each finished stage took, whenever it ran."""
        return MappingProxyType({name: float(entry["seconds"]) for name, entry in self._stages.items()})

    def stage(
        self,
        name: str,
        inputs: Mapping[str, Json],
        files: Sequence[str],
        work: Callable[[Journal], None],
        choices: Mapping[str, Json] = MappingProxyType({}),
        shared: str = "",
    ) -> None:
        """Do `work`, which leaves `files`, unless the same work on the same inputs has left the same files before.

        inputs: all that measurements depend on; choices: what else the result depends on, so that other choices still find the
        measurements. Both under names that a person understands. shared: keep the measurements below the cache folder, under this name,
        where other runs on the same inputs find them.
        """
        wanted = {key: value if isinstance(value, str) else digest(value) for key, value in {**inputs, **choices}.items()}
        if self._is_done(name, wanted, files):
            self._say(name, "done before")
            return
        scope = digest([name, {key: wanted[key] for key in inputs}])
        journal = shared_journal(shared, scope) if shared else Journal(self.folder / JOURNAL, scope)
        if shared and len(journal):
            self._say(name, f"{len(journal)} measurements of earlier runs are at hand")
        started = time.perf_counter()
        work(journal)
        self._stages[name] = {
            "inputs": wanted,
            "files": {file: digest_file(self.folder / file) for file in files},
            "seconds": round(time.perf_counter() - started, 3),
        }
        write_json(self.folder / LEDGER, {"schema": 1, "stages": self._stages})

    def _is_done(self, name: str, wanted: Mapping[str, str], files: Sequence[str]) -> bool:
        entry = self._stages.get(name)
        if entry is None:
            self._say(name, "")
            return False
        before = entry["inputs"]
        changed = [key for key in (*wanted, *(k for k in before if k not in wanted)) if before.get(key) != wanted.get(key)]
        if changed:
            self._say(name, f"done again, because of what changed: {', '.join(changed)}")
            return False
        for file in files:
            path = self.folder / file
            if not path.is_file() or digest_file(path) != entry["files"].get(file):
                self._say(name, f"done again, because {file} is missing or was changed")
                return False
        return True


def _read_ledger(path: Path) -> dict[str, dict[str, Json]]:
    """The stages noted in a ledger; none where there is no ledger, or one that cannot be read."""
    try:
        stages = json.loads(path.read_text(encoding="utf-8"))["stages"]
        return {
            str(name): entry
            for name, entry in stages.items()
            if isinstance(entry["inputs"], dict) and isinstance(entry["files"], dict) and isinstance(entry["seconds"], int | float)
        }
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return {}
