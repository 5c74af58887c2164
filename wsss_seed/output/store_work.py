"""The work of several processes on a store that has no manifest, such as that of mask proposals.

The stored files show which images are done, so nothing else has to stay. While processes share the images, they use the
folder ``.work`` of the store, which the last one to end removes::

    STORE/.work/<worker>.worker         a worker; see ``leases``
    STORE/.work/<plan>/                 a plan, its leases and its finished shards; see ``shards``
    STORE/.work/<plan>/key              where in the store the workers write; the same for all of them
    STORE/.work/<plan>/<worker>.jsonl   a record per image that a worker has processed
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..data.base import Sample
from ..data.voc_layout import RUN
from ..errors import RunFolderError
from ..io.files import remove_parts, write_text
from .leases import Leases, Worker
from .manifest import WORK, Appender, Record, error_text, read_records
from .run_folder import STEWARD, write_error
from .shards import Plan, Shards, clean, join, joined, pack, read_plan, shard_size, write_plan

KEY = "key"


class StoreWork:
    """This process as one of those that share the images of a plan. Use as a context manager.

    Args:
        store: folder of the store; created if missing.
        plan: name of the plan; see ``shards.plan_name``.
        token: identifies the command, which may have several processes.
        driver: whether this process only supervises the others of the command.

    Attributes:
        token: identifies the command.
        file: a file of this process in the store, absolute, which all processes must see.

    Raises:
        RunFolderError: the folder is a run folder or cannot be written.
    """

    def __init__(self, store: Path, plan: str, token: str = "", *, driver: bool = False) -> None:
        self.token = token or secrets.token_hex(6)
        self._store, self._new = store, not store.exists()
        self._folder = store / WORK / plan
        self._appender: Appender | None = None
        if (store / RUN).exists():
            raise RunFolderError(f"{store}: a run folder, which is no place for mask proposals; choose another `out`")
        try:
            store.mkdir(parents=True, exist_ok=True)
            self._worker = Worker(store / WORK, self.token, driver=driver)
        except OSError as error:
            raise write_error(store, error) from error
        self._leases = Leases(store / WORK, self._worker)
        self.file = self._worker.path.absolute()

    def shards(
        self, samples: Sequence[Sample], key: str, *, part: tuple[int, int] = (0, 1), shards: int | None = None
    ) -> Shards:
        """The shards of the plan: those that other processes have begun, or new ones with all images.

        A new plan keeps the leases of dead workers, which say at which images they died.

        Args:
            samples: the images of the plan, in order.
            key: where in the store this process writes, which depends on its weights.
            part: which part of the images of the command they are, (0-based index, number of parts).
            shards: number of shards of a new plan; see ``shards.shard_size``.

        Raises:
            RunFolderError: the other processes have other weights.
            OSError: the folder cannot be written.
        """
        with self._leases.waiting(STEWARD):
            plan = read_plan(self._folder)
            if plan is None or not self._begun(plan):
                plan = self._begin(plan, samples, key, part, shards)
            elif (self._folder / KEY).read_text() != key:
                raise RunFolderError(
                    f"{self._store}: another process at work here has other weights of this SAM, or another precision; "
                    "use the same files everywhere and give `precision`"
                )
            self._appender = Appender(self._records_of(self._worker.id))
            join(self._folder, self._worker.id)
            return Shards(self._folder, plan, samples, self._worker, self._recorded)

    def _begun(self, plan: Plan) -> bool:
        """Whether this command, or another one that is still at work, has made the plan."""
        return plan.token == self.token or any(self._worker.alive(id) for id in joined(self._folder))

    def _begin(
        self, former: Plan | None, samples: Sequence[Sample], key: str, part: tuple[int, int], shards: int | None
    ) -> Plan:
        size, (index, count) = shard_size(len(samples), shards), part
        same = former is not None and former.size == size
        self._folder.mkdir(exist_ok=True)
        for entry in [*self._folder.iterdir()]:
            if not (same and ".lease-" in entry.name):
                entry.unlink()
        write_text(self._folder / KEY, key)
        todo = pack(np.ones(len(samples), bool))
        plan = Plan((index + 1, count), len(samples), size, todo, token=self.token)
        write_plan(self._folder, plan)
        return plan

    def done(self, sample: Sample, evidence: Mapping[str, Any]) -> None:
        """Record that an image is processed, with facts about it as JSON values. Raises OSError."""
        self._append(Record(id=sample.id, status="ok", evidence=dict(evidence)))

    def fail(self, sample: Sample, error: str) -> None:
        """Record that an image has failed. Raises OSError."""
        self._append(Record(id=sample.id, status="failed", error=error_text(error)))

    def _append(self, record: Record) -> None:
        assert self._appender is not None, "shards comes first"
        self._appender.append(record)

    def records(self) -> Iterator[Record]:
        """What all processes have recorded of the plan, once per image. Raises OSError."""
        seen = set()
        for record in read_records(sorted(self._folder.glob("*.jsonl"))):
            if record.id not in seen:
                seen.add(record.id)
                yield record

    def _records_of(self, worker: str) -> Path:
        return self._folder / f"{worker}.jsonl"

    def _recorded(self, _: Sequence[Sample], workers: Sequence[str]) -> frozenset[str]:
        files = [path for path in map(self._records_of, workers) if path.exists()]
        return frozenset(record.id for record in read_records(files))

    def __enter__(self) -> StoreWork:
        return self

    def __exit__(self, *_: object) -> None:
        if self._appender is not None:
            self._appender.close()
        with suppress(OSError), self._leases.waiting(STEWARD):  # such as a full disk; the next process cleans up
            if not any(self._worker.alive(id) for id in self._worker.others()):
                if self._worker.others():
                    remove_parts([self._store])
                clean(self._worker)
            self._worker.leave()
        self._worker.leave()
        if self._new:
            with suppress(OSError):  # not empty
                self._store.rmdir()
