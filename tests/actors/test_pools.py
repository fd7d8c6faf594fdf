"""Actors in this process and in others: the same batches, exact counts whatever dies, no stale policy."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch

from visagent.actors.pool import SerialActors
from visagent.actors.process import ProcessActors
from visagent.actors.queued import ActorError, QueuedActors
from visagent.actors.roles import Report, Task
from visagent.actors.segments import RolloutRoleFactory
from visagent.envs.border import WorldError
from visagent.envs.gymnasium_world import GymnasiumWorlds
from visagent.experience.rollouts import RolloutBatch
from visagent.networks.actor_critic import ActorCritic
from visagent.testing.worlds import CountingWorlds, ReusingWorlds, SleepingWorlds

SETTINGS = {
    "actor_hidden": [8], "critic_hidden": [8], "activation": "tanh", "squash_mean": False, "init_log_std": -0.5,
    "normalize": True, "pixel_features": 16,
    "orthogonal_init": True,
}  # fmt: skip


def segments(worlds, lstm=0, count=2, steps=6):
    torch.manual_seed(0)
    policy = ActorCritic(worlds.spaces(), **SETTINGS, lstm=lstm)
    return RolloutRoleFactory(worlds, policy, count, steps, 0), policy.state_dict()


def other(weights):
    return {name: value + 0.1 if value.is_floating_point() else value for name, value in weights.items()}


@pytest.mark.process
@pytest.mark.parametrize(
    ("worlds", "lstm"), [(GymnasiumWorlds("Pendulum-v1", max_steps=9), 0), (GymnasiumWorlds("CartPole-v1"), 5)]
)
def test_processes_collect_what_one_process_collects(worlds, lstm):
    make, weights = segments(worlds, lstm)
    batches = []
    for actors in (
        SerialActors(make, 3),
        ProcessActors(make, 3, weights),
        ProcessActors(make, 3, weights, shared_memory=False),
    ):
        found = []
        for version, task in enumerate((Task(0, 0, True), Task(0, 1, False), Task(1, 0, True))):
            actors.publish(weights if version < 1 else other(weights), version)
            collected = actors.collect(task)
            assert [report.version for report in collected.reports] == [version] * 3
            found.append(
                {name: array.copy() for name, array in collected.arrays.items()}
                | {"episodes": [r.episodes for r in collected.reports]}
            )
        batches.append(found)
        actors.close()
    for others in batches[1:]:
        for ours, theirs in zip(batches[0], others, strict=True):
            assert ours.keys() == theirs.keys() and ours["episodes"] == theirs["episodes"]
            for name in ours.keys() - {"episodes"}:
                assert np.array_equal(ours[name], theirs[name]), name


def test_a_segment_says_what_happened():
    make, weights = segments(CountingWorlds(4, truncates=True), steps=6)
    actors = SerialActors(make, 2)
    actors.publish(weights, 0)
    found = actors.collect(Task(0, 0, True))
    batch = RolloutBatch.join(found.arrays, 0, [e for r in found.reports for e in r.episodes], {})
    assert batch.env_steps == 24 and batch.observation["state"][:, 0, 0].tolist() == [0, 1, 2, 3, 0, 1]
    assert (
        batch.first[:, 1].tolist() == [True, False, False, False, True, False]
        and batch.truncated[3].all()
        and batch.truncated.sum() == 4
    )
    assert [episode.steps for episode in batch.episodes] == [4] * 4 and not batch.terminated.any()
    policy = actors.roles[0].policy
    values = {shown: policy({"state": torch.full((1, 1), shown)}).value.item() for shown in (2.0, 4.0)}
    assert batch.final_value[3, 0] == pytest.approx(values[4.0]) and batch.final_value[2, 0] == 0
    assert batch.last_value[0] == pytest.approx(values[2.0])
    again = actors.collect(Task(0, 1, False))
    # episodes go on in the next segment
    assert again.arrays["observation.state"][:, 0, 0].tolist() == [2, 3, 0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"RolloutBatch\.value: expected \[T, B\]"):
        RolloutBatch(**{**vars(batch), "value": batch.value[0]})


@pytest.mark.process
def test_a_killed_actor_comes_back_and_nothing_is_counted_twice(caplog):
    make, weights = segments(CountingWorlds(4), steps=50)
    actors = ProcessActors(make, 2, weights)
    actors.publish(weights, 0)
    total = 0
    for iteration in range(6):
        if iteration in (1, 4):
            os.kill(actors._processes[iteration % 2].pid, signal.SIGKILL)
        found = actors.collect(Task(0, iteration, iteration == 0))
        total += sum(episode.steps for report in found.reports for episode in report.episodes)
        assert set(np.diff(found.arrays["observation.state"][:, :, 0], axis=0).ravel()) == {1.0, -3.0}
    actors.close()
    assert found.restarts == 2 and caplog.text.count("is started again: its process ended with exit code -9") == 2
    # Whole episodes of 4 steps in 2 worlds each: the one actor did 200 and 100 steps in a row, the other 50 and 250.
    assert total == 2 * 4 * (200 // 4 + 100 // 4 + 50 // 4 + 250 // 4)


@pytest.mark.process
def test_an_actor_that_dies_with_nothing_to_do_begins_anew():
    """While the other one works, it is started again; its next task is one in the middle of an epoch."""
    make, weights = segments(CountingWorlds(4), count=1)
    actors = ProcessActors(make, 2, weights)
    actors.publish(weights, 0)
    actors.collect(Task(0, 0, True))
    actors._processes[0].kill()
    actors._listen()
    assert not actors._awaited
    found = actors.collect(Task(0, 1, False))
    actors.close()
    assert found.restarts == 1  # and not once more, for a task that it could not do
    assert found.arrays["observation.state"][:, :, 0].T.tolist() == [[0, 1, 2, 3, 0, 1], [2, 3, 0, 1, 2, 3]]


@pytest.mark.process
def test_an_actor_that_is_killed_within_a_message_comes_back():
    # a megabyte: more than a pipe takes before it is read
    make, weights = segments(SleepingWorlds(0.0, 84), count=1, steps=20)
    actors = ProcessActors(make, 1, weights, shared_memory=False)
    actors.publish(weights, 0)
    actors.collect(Task(0, 0, True))
    actors.request(Task(0, 1, False))
    assert actors._pipes[0].poll(120)  # the message has begun
    os.kill(actors._processes[0].pid, signal.SIGKILL)
    actors._processes[0].join()  # else a dying process may still write on, as fast as it is read
    found = actors.receive()
    actors.close()
    assert found.restarts == 1 and found.arrays["observation.pixels"].nbytes > 1_000_000


@pytest.mark.process
def test_a_world_that_always_fails_stops_the_run_with_its_traceback():
    make, weights = segments(CountingWorlds(9, fails_at=3, learner=os.getpid()))
    actors = ProcessActors(make, 1, weights)
    actors.publish(weights, 0)
    with pytest.raises(
        ActorError, match=r"(?s)actor 0 failed 3 times in a row.*Traceback.*RuntimeError: the world is broken"
    ):
        actors.collect(Task(0, 0, True))


@pytest.mark.process
def test_a_world_that_writes_in_one_place_and_then_no_number(nothing_left):
    """What a process writes is that of a world that does neither; its mistake is the user's, so that nothing is tried
    again.
    """
    worlds = {
        "right": CountingWorlds(4, truncates=True),
        "odd": ReusingWorlds(4, truncates=True, spoils=8, learner=os.getpid()),
    }
    made = {name: segments(kind) for name, kind in worlds.items()}
    actors = {"right": SerialActors(made["right"][0], 1), "odd": ProcessActors(made["odd"][0], 1, made["odd"][1])}
    found = {}
    for name, pool in actors.items():
        pool.publish(made["right"][1], 0)
        found[name] = {key: array.copy() for key, array in pool.collect(Task(0, 0, True)).arrays.items()}
    assert found["right"]["final_value"][3].all() and all(
        np.array_equal(found["right"][key], found["odd"][key]) for key in found["right"]
    )
    with pytest.raises(
        WorldError,
        match=r"^visagent\.testing\.worlds\.ReusingWorlds: expected finite numbers of float32, got nan as number 0 of "
        r"its state in step$",
    ):
        actors["odd"].collect(Task(0, 1, False))
    assert actors["odd"].restarts == 0


@pytest.mark.process
def test_an_actor_that_says_nothing_is_not_waited_for_for_ever(nothing_left):
    make, weights = segments(ReusingWorlds(4, hangs=8, learner=os.getpid()))
    actors = ProcessActors(make, 1, weights)
    actors.publish(weights, 0)
    actors.collect(Task(0, 0, True))
    actors.timeout = 0.2
    with pytest.raises(
        ActorError,
        match=r"actor 0: expected word within 0\.2 s \(datamodule\.timeout\), got none: a world hangs.*type "
        r"datamodule\.timeout=1, or null",
    ):
        actors.collect(Task(0, 1, False))


class Obedient(QueuedActors):
    """Workers that do nothing and are done at once."""

    def _send(self, worker, slot, task):
        self.tasks = [*getattr(self, "tasks", []), task]

    def _listen(self):
        for worker in range(self.workers):
            while self._asked[worker]:
                self._finished(worker, Report(self._version))


def test_tasks_that_are_asked_for_ahead_have_numbers_of_their_own():
    actors = Obedient(segments(CountingWorlds(5))[0], 1, ahead=2, max_lag=None)
    for epoch, iteration in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1)):
        actors.collect(Task(epoch, iteration, epoch == iteration == 0))
    numbers = [(task.epoch, task.iteration) for task in actors.tasks]
    assert numbers == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (1, 3)]
    assert [task.begin for task in actors.tasks] == [True] + [False] * 6
    actors.max_lag, actors._version = 0, 5  # all of the three that are under way are too old now
    actors._done = [[Report(4)] for _ in actors.slots]
    actors.receive()
    assert (actors.tasks[-1].epoch, actors.tasks[-1].iteration) == (1, 2)  # made again as what it was


@pytest.mark.process
def test_asynchronous_actors_run_ahead_but_not_with_an_old_policy():
    make, weights = segments(CountingWorlds(5))
    actors = ProcessActors(make, 2, weights, ahead=1, max_lag=1)
    lags, dropped = [], 0
    for version in range(6):
        actors.publish(weights, version)
        if version == 3:
            # the learner was quick: what was collected meanwhile is two versions old
            actors.publish(weights, version := 4)
        found = actors.collect(Task(0, version, version == 0))
        lags += [version - report.version for report in found.reports]
        dropped += found.dropped
    actors.close()
    assert max(lags) <= 1 and min(lags) >= 0
    assert dropped <= 2
