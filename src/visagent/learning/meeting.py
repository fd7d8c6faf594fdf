"""Where the learners of a run find each other, and leave word."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch.distributed.distributed_c10d import Store

from visagent.errors import ConfigError, UserError

START_SECONDS, LOOK_SECONDS = 900.0, 0.05
"""How long learners wait for each other to begin: each imports, reads its data, and may wait for a node's disk."""


@dataclass(frozen=True)
class Meeting:
    """One learner's place among all.

    Attributes:
        number: of this learner, 0 of the first.
        count: of all.
        store: that all reach, the first one's.
        host: the address at which the others reach this one.
        key: that all learners of the run know and nobody else.
        check: raises where it is no use to wait for the others.
    """

    number: int
    count: int
    store: Store
    host: str
    key: str
    check: Callable[[], None]

    def gathered(self, what: str, mine: str = "") -> dict[int, str]:
        """What all learners have said, once each has.

        Args:
            what: it is about.
            mine: this learner's own word.

        Raises:
            UserError: when one has said nothing, after a long time.
        """
        self.store.set(f"{what}/{self.number}", mine)
        deadline = time.monotonic() + START_SECONDS
        absent = list(range(self.count))
        while absent := [number for number in absent if not self.store.check([f"{what}/{number}"])]:
            self.check()
            if time.monotonic() > deadline:
                raise UserError(
                    f"learners {', '.join(map(str, absent))} did not begin within {START_SECONDS:.0f} seconds; what "
                    "they say is in learners/NUMBER/log.txt of the run's folder"
                )
            time.sleep(LOOK_SECONDS)
        return {number: self.store.get(f"{what}/{number}").decode() for number in range(self.count)}

    def common_epoch(self, mine: Iterable[int]) -> int:
        """The latest epoch at which all can begin.

        Args:
            mine: epochs at which this one can, beside 0.

        Raises:
            ConfigError: when it is the beginning though a learner is further than its first epoch: nothing is lost
                without a word.
        """
        said = self.gathered("epochs", json.dumps(sorted({0, *mine})))
        there = [set(json.loads(each)) for each in said.values()]
        common = max(set.intersection(*there))
        if common == 0 and max(set.union(*there)) > 1:
            have = ", ".join(f"learner {each} {sorted(epochs - {0}) or 'none'}" for each, epochs in enumerate(there))
            raise ConfigError(
                f"expected checkpoints of an epoch that all learners have finished, got those of {have}; put back what "
                "is lacking in learners/NUMBER/checkpoints of the run's folder, or delete the folder to train the run "
                "anew"
            )
        return int(common)
