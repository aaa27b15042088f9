"""Drawing: pictures show what their scene says, measured in pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegen.generate.grammar import CATEGORIES, parse, sample_scene
from edgegen.generate.pictures import FREE, NEAT, SIDE, draw, draw_batch, lay_out, render
from edgegen.generate.words import BACKGROUNDS, SHAPES


def lay(seed, category, count=16, style=FREE):
    rng = np.random.default_rng(seed)
    scenes = [sample_scene(rng, category) for _ in range(count)]
    return scenes, lay_out(scenes, rng, style)


@given(st.integers(0, 10_000), st.sampled_from(CATEGORIES), st.sampled_from([FREE, NEAT]))
def test_objects_lie_inside_apart_and_true_to_their_relations(seed, category, style):
    scenes, layout = lay(seed, category, style=style)
    for row, scene in enumerate(scenes):
        count = len(scene.items)
        places, radius = layout.centre[row, :count], layout.radius[row, :count]
        assert (places >= radius[:, None]).all()
        assert (places <= SIDE - radius[:, None]).all()
        for first, relation, second in scene.pairs():
            axis = 0 if relation in ("left of", "right of") else 1
            sign = 1 if relation in ("left of", "above") else -1
            assert sign * (places[second, axis] - places[first, axis]) > max(radius[first], radius[second])
        for one in range(count):
            for other in range(one):
                assert np.abs(places[one] - places[other]).max() > radius[one] + radius[other]


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_neat_picture_has_its_objects_on_the_grid_in_one_of_three_sizes(category):
    _, layout = lay(5, category, style=NEAT)
    there = layout.radius > 0
    assert (layout.centre[there] % NEAT.grid == 0).all()
    assert set(layout.radius[there]) <= {7.0, 9.0, 12.0}


def test_the_same_seed_draws_the_same_picture():
    scene = parse("a red circle left of a blue square")
    one, again, other = (draw(scene, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()
    assert one.shape == (SIDE, SIDE, 3)
    assert one.dtype == np.uint8


@pytest.mark.parametrize(("name", "colour"), BACKGROUNDS.items())
def test_the_background_is_exactly_its_colour(name, colour):
    picture = draw(parse(f"a small red circle on a {name} background"), np.random.default_rng(0))
    assert (picture == colour).all(-1).mean() > 0.9


def area(shape, seed):
    scene = parse(f"a large red {shape} on a black background")
    layout = lay_out([scene], np.random.default_rng(seed))
    cover = (render(layout)[0].astype(float) - 12).sum() / (layout.colour[0, 0] - 12).sum()
    return cover, layout.radius[0, 0]


@pytest.mark.parametrize(
    ("shape", "per_square_radius"),
    [
        ("circle", np.pi),
        ("square", 1.8**2),
        ("cross", 4 * (2 * 0.34 - 0.34**2)),
        # An equilateral triangle with an inscribed circle of 0.6 radii: 3 sqrt(3) times its square.
        ("triangle", 3 * np.sqrt(3) * 0.6**2),
    ],
)
def test_anti_aliased_areas_match_geometry(shape, per_square_radius):
    for seed in range(5):
        cover, radius = area(shape, seed)
        assert cover == pytest.approx(per_square_radius * radius**2, rel=0.03)


def test_every_shape_looks_different():
    rng = np.random.default_rng(0)
    scenes = [parse(f"a large red {shape} on black") for shape in SHAPES]
    layout = lay_out(scenes, rng)
    layout.centre[:], layout.radius[:, 0] = 32, 12
    pictures = render(layout).astype(float)
    for one in range(len(SHAPES)):
        for other in range(one):
            assert np.abs(pictures[one] - pictures[other]).mean() > 1


def test_a_larger_picture_shows_the_same_scene():
    _, layout = lay(3, "complex", count=4)
    large = render(layout, 128).reshape(4, 64, 2, 64, 2, 3).mean((2, 4))
    assert np.abs(large - render(layout)).mean() < 1


def test_a_batch_has_one_picture_per_scene():
    scenes, _ = lay(0, "basic", count=5)
    assert draw_batch(scenes, np.random.default_rng(0)).shape == (5, SIDE, SIDE, 3)
