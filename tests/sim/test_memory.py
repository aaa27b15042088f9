"""A world that remembers: the world itself is unchanged, and policies see what was remembered before the decision."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from edgegen.sim import environment, epochs, memory


class Doubling(epochs.AbstractWorld):
    """Chance adds to a number, actions multiply it; above `most` it breaks down."""

    most: float = eqx.field(static=True, default=jnp.inf)
    length: int = eqx.field(static=True, default=6)

    def chance(self, key):
        return jax.random.uniform(key)

    def start(self):
        return jnp.float64(1.0), jnp.int32(0)

    def advance(self, state, chance):
        number, count = state
        return (number + chance, count + 1), chance, count < 4, {"raised": chance}

    def view(self, state, event):
        return state[0]

    def step(self, state, event, action):
        number, count = state
        return (number * action, count), {"value": number * action}

    def terminated(self, state):
        return state[0] > self.most


class Sums(memory.AbstractMemory):
    """How often something was done, and what was seen, done and entered, summed."""

    def start(self):
        return jnp.int32(0), jnp.zeros(3)

    def update(self, memory, view, action, entries):
        count, sums = memory
        return count + 1, sums + jnp.stack([view, action, entries["value"]])


def twice(view, key):
    return jnp.float64(2.0)


def more_each_time(recalled, key):
    return recalled.memory[0].astype(float) + 1.0


WORLD = Doubling()
EPISODE = epochs.draw(WORLD, jax.random.key(0))


def test_a_memory_changes_nothing_of_the_world():
    plain, remembering = (
        epochs.simulate(world, twice, epochs.draw(world, jax.random.key(0)))
        for world in (WORLD, memory.Remembering(WORLD, Sums()))
    )
    for name, entries in plain.ledger.items():
        np.testing.assert_array_equal(entries, remembering.ledger[name])
    np.testing.assert_array_equal(plain.live, remembering.live)
    np.testing.assert_array_equal(plain.state[0], remembering.state.state[0])


def test_a_policy_sees_what_happened_before_its_decision_and_not_more():
    run = epochs.simulate(memory.Remembering(WORLD, Sums()), more_each_time, EPISODE)
    assert run.actions[:4].tolist() == [1, 2, 3, 4]


def test_what_was_seen_done_and_entered_is_remembered():
    run = epochs.simulate(memory.Remembering(WORLD, Sums()), more_each_time, EPISODE)
    number, seen = 1.0, []
    for raised, action in zip(EPISODE.chance[:4].tolist(), (1, 2, 3, 4), strict=True):
        seen.append(number + raised)
        number = seen[-1] * action
    count, sums = run.state.memory
    assert int(count) == 4
    np.testing.assert_allclose(sums, [sum(seen), 10, float(run.ledger["value"].sum())], rtol=1e-12)


def test_a_note_is_shown_and_never_changes():
    world = memory.Remembering(WORLD, memory.Note(jnp.float64(3.0)))
    run = epochs.simulate(world, lambda recalled, key: recalled.memory, EPISODE)
    assert run.actions[:4].tolist() == [3] * 4


def test_instances_bring_their_own_notes():
    worlds = epochs.stack([memory.Remembering(WORLD, memory.Note(jnp.float64(note))) for note in (1.0, 2.0)])
    episodes = epochs.draw_many(worlds, jnp.stack([jax.random.split(jax.random.key(0), 1)] * 2))
    run = epochs.play_many(worlds, lambda recalled, key: recalled.memory, episodes)
    np.testing.assert_array_equal(run.actions[:, 0, 0], [1, 2])


def test_a_breakdown_is_one_and_a_new_episode_begins_without_memories():
    world = memory.Remembering(Doubling(most=5.0), Sums())
    codec = environment.Codec(
        observe=lambda recalled: recalled.memory[1],
        allowed=lambda recalled: jnp.ones(2, dtype=bool),
        decode=lambda recalled, action: 1.0 + 9.0 * action.astype(float),
        actions=2,
        weights={"value": 1.0},
    )
    env = environment.Environment(world, codec)
    moment, _ = env.reset(jax.random.key(1))
    moment, step = env.step(moment, jnp.int32(0), jax.random.key(2))
    assert not step.ended
    assert float(step.observation.features[1]) == 1  # the action before
    _, step = env.step(moment, jnp.int32(1), jax.random.key(3))
    assert step.terminated
    assert float(step.final.features[1]) == 11
    np.testing.assert_array_equal(step.observation.features, 0)
