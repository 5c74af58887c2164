"""The loop of a worker over the shards of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..data.base import Sample
from ..io.signals import interruptible
from ..output.shards import MOST_DEATHS, Shard, Shards

DIED = "the process died each time it processed this image alone"


class SharedWork:
    """The shards of a worker, and which of them each image belongs to.

    Args:
        shards: the shards.
        process: processes images, calling ``recorded`` for each.
        give_up: records that an image has failed, and calls ``recorded``.
    """

    def __init__(
        self, shards: Shards, process: Callable[[Iterable[Sample]], None], give_up: Callable[[Sample, str], None]
    ) -> None:
        self._shards, self._process, self._give_up = shards, process, give_up
        self._shard_of: dict[str, Shard] = {}

    def run(self) -> None:
        """Process shards until all are done, by this worker or by others.

        Raises:
            KeyboardInterrupt: interrupted; pending writes are finished.
            OSError: from ``process``.
        """
        try:
            with interruptible() as asked:
                self._process(sample for shard in self._shards.fresh() for sample in self._of(shard))
                for shard in self._shards.rest(asked):
                    if shard.alone:
                        self._one_by_one(shard)
                    else:
                        self._process(self._of(shard))
        finally:
            self._shards.release()

    def held(self, sample: Sample) -> bool:
        """Whether this worker still has the shard of an image it processes."""
        return self._shard_of[sample.id].held()

    def recorded(self, id: str) -> None:
        """Count an image whose record is written. May be called from threads."""
        self._shard_of.pop(id).recorded()

    def _of(self, shard: Shard) -> Sequence[Sample]:
        self._shard_of.update((sample.id, shard) for sample in shard.samples)
        return shard.samples

    def _one_by_one(self, shard: Shard) -> None:
        for sample in self._of(shard):
            if shard.deaths(sample) >= MOST_DEATHS:
                self._give_up(sample, DIED)
            else:
                shard.note(sample)
                self._process([sample])
