"""Several ranks of one training as forks of the test: what a process of its own would need ten seconds for, they have
already.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
import warnings
from multiprocessing.connection import wait

import pytest
import torch

from chromium import free_port


def on_ranks(function, count=2, limit=120):
    """What `function(rank)` returns on each of `count` ranks: its result, or an error with the traceback as it was
    printed.

    Raises:
        AssertionError: when they do not end: one waits for another that never comes.
    """
    if torch.cuda.is_initialized():
        pytest.skip("a test before this one has used the GPU, which forks cannot share")
    context, port, pipes, processes = multiprocessing.get_context("fork"), free_port(), [], []
    for rank in range(count):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_rank, args=(function, rank, count, port, theirs))
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    found = {}
    try:
        while len(found) < count:
            ready = wait([pipe for pipe in pipes if pipe not in found], timeout=limit)
            assert ready, (
                f"ranks {[rank for rank, pipe in enumerate(pipes) if pipe not in found]} did not end in {limit} s"
            )
            for pipe in ready:
                try:
                    found[pipe] = pipe.recv()
                except EOFError:
                    found[pipe] = RuntimeError("the process died")
    finally:
        for process in processes:
            process.kill()
            process.join()
    return [found[pipe] for pipe in pipes]


def results(found):
    """What all ranks returned; their errors are the test's."""
    errors = [str(each) for each in found if isinstance(each, BaseException)]
    assert not errors, "\n".join(errors)
    return found


def _rank(function, rank, count, port, pipe):
    names = {"LOCAL_RANK": rank, "NODE_RANK": 0, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")  # what is logged is of all ranks already
    try:
        result = function(rank)
    except BaseException as error:  # noqa: BLE001 (it is the result)
        result = RuntimeError(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
    pipe.send(result)
    pipe.close()
    os._exit(0)  # nothing of the test's own is to be tidied up here


class Joined:
    """A process group, and what code asks of a trainer in it."""

    def __init__(self, rank, count=2):
        torch.distributed.init_process_group("gloo", rank=rank, world_size=count)
        self.world_size, self.global_rank, self.strategy = count, rank, self
        self.is_global_zero, self.root_device = rank == 0, torch.device("cpu")
