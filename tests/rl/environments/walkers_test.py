"""Walker2d and the humanoid against plain MuJoCo, one simulation at a time."""

import numpy as np
import pytest

from tests.support import with_rl  # noqa: F401

# isort: split
import gymnasium

from maml_tf.rl.environments.walkers import Humanoid, Walker2d
from tests.support.mujoco_reference import Reference

STEPS = 25


def walker_by_hand(reference, action, direction):
    before = reference.data.qpos[0]
    for _ in range(8):
        data = reference.step(np.clip(action, -1, 1))
    reward = direction[0] * (data.qpos[0] - before) / 0.016 + 1.0 - 1e-3 * np.square(np.clip(action, -1, 1)).sum()
    ended = not (0.8 < data.qpos[1] < 2.0 and -1.0 < data.qpos[2] < 1.0)
    return np.concatenate([data.qpos[1:], np.clip(data.qvel, -10, 10)]), reward, ended


def mass_centre(reference):
    masses = reference.model.body_mass[:, np.newaxis]
    return (np.sum(masses * reference.data.xipos, 0) / np.sum(masses))[:2]


def humanoid_by_hand(reference, action, direction):
    before = mass_centre(reference)
    for _ in range(5):
        data = reference.step(0.4 * np.clip(action, -1, 1))
    moved = (mass_centre(reference) - before)[: len(direction)]
    impact = min(0.5e-6 * np.square(data.cfrc_ext).sum(), 10)
    reward = 0.25 * np.sum(direction * moved) / 0.003 - 0.1 * np.square(data.ctrl).sum() - impact + 5.0
    parts = (data.qpos[2:], data.qvel, data.cinert, data.cvel, data.qfrc_actuator, data.cfrc_ext)
    return np.concatenate([np.ravel(part) for part in parts]), reward, not 1.0 <= data.qpos[2] <= 2.0


BODIES = {
    "walker2d": (lambda count, **options: Walker2d(count, **options), "walker2d", walker_by_hand),
    "humanoid": (lambda count, **options: Humanoid(count, **options), "humanoid", humanoid_by_hand),
    "humanoid_2d": (lambda count, **options: Humanoid(count, "direction_2d", **options), "humanoid", humanoid_by_hand),
}
every_body = pytest.mark.parametrize(("make", "model", "by_hand"), BODIES.values(), ids=BODIES)


@every_body
def test_rollouts_are_those_of_plain_mujoco(make, model, by_hand):
    environment = make(2, seed=4)
    directions = environment.sample_tasks(6, seed=0)[[0, 5]]
    environment.set_tasks(directions)
    first = environment.reset_batch()
    state = environment.simulations
    references = [Reference(model, state.qpos[one], state.qvel[one]) for one in range(2)]
    draw, done, falls = np.random.default_rng(0), np.zeros(2, bool), 0

    assert first.shape[1] == environment.observation_spec().shape[0]
    for _ in range(STEPS):
        actions = draw.normal(size=(2, state.model.nu))
        observations, rewards, ended = environment.step_batch(actions)
        for one in np.flatnonzero(~done):
            expected, reward, falls_now = by_hand(references[one], actions[one].astype(np.float32), directions[one])
            np.testing.assert_allclose(observations[one], expected, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(rewards[one], reward, rtol=1e-5)
            assert ended[one] == falls_now
            falls += falls_now
        done = ended
    assert falls > 0 or model == "humanoid"


@every_body
def test_starts_are_uniform_around_the_body_at_rest(make, model, by_hand):
    environment = make(2000)
    environment.reset_batch()
    farthest = 0.005 if model == "walker2d" else 0.01
    hinges = environment.simulations.qpos[:, 7:] - environment.initial_qpos[7:]

    for values in (hinges, environment.simulations.qvel):
        assert np.abs(values).max() <= farthest
        np.testing.assert_allclose(values.std(axis=0), farthest / 3**0.5, rtol=0.1)
        np.testing.assert_allclose(values.mean(axis=0), 0.0, atol=5 * farthest / 6000**0.5)


@pytest.mark.filterwarnings("ignore:.*Humanoid-v4 is out of date:DeprecationWarning")
def test_the_humanoid_is_observed_as_gymnasium_does():
    theirs = gymnasium.make("Humanoid-v4").unwrapped
    observation, _ = theirs.reset(seed=0)
    environment = Humanoid(1)
    environment.reset_batch()
    state = environment.simulations
    state.set_state(np.ones(1, bool), theirs.data.qpos[np.newaxis], theirs.data.qvel[np.newaxis])
    # gymnasium observes the quaternion of its start before it is normalized, and forces of its last step.
    expected = np.concatenate(
        [observation[:1], observation[1:5] / np.linalg.norm(observation[1:5]), observation[5:269]]
    )

    np.testing.assert_allclose(environment._observe()[0, :269], expected, rtol=1e-9, atol=1e-9)
    assert environment.observation_spec().shape == observation.shape
    assert environment.dt == pytest.approx(theirs.dt)


@pytest.mark.parametrize("make", [Walker2d, Humanoid])
def test_rollouts_are_the_same_on_any_number_of_threads(make):
    found = []
    for threads in (1, 2):
        environment = make(3, seed=7, threads=threads)
        found.append([environment.reset_batch()])
        draw = np.random.default_rng(0)
        for _ in range(5):
            found[-1] += environment.step_batch(draw.normal(size=(3, environment.simulations.model.nu)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_task_is_an_error():
    with pytest.raises(ValueError, match=r"task.*direction_2d.*velocity"):
        Humanoid(1, "velocity")
