"""What a menu offers at each price of a second is the best of all that it has."""

import numpy as np
import pytest

from edgegen.physics.options import options
from edgegen.plan.menu import Menus
from edgegen.plan.networks import fleet


@pytest.mark.parametrize("seed", range(4))
def test_the_best_option_at_a_price_is_found_on_the_hull(seed):
    state = fleet(seed)
    menus = Menus(state, options(state))
    rng = np.random.default_rng(seed)
    tried = 0
    for task in np.flatnonzero(state.tasks.live):
        for node in range(state.node_count):
            menu = menus.of(int(task), node)
            if menu is None:
                continue
            for price in (0.0, *rng.exponential(0.5, 6), 1e6):
                value = menu.cost + price * menu.busy_s
                assert value[menu.best_at(price)] == pytest.approx(value.min())
                tried += 1
    assert tried > 50


def test_a_menu_holds_nothing_that_another_option_beats_in_both():
    state = fleet(0)
    menus = Menus(state, options(state))
    menu = menus.of(int(np.flatnonzero(state.tasks.live)[0]), 0)
    assert menu is not None
    assert (np.diff(menu.busy_s) > 0).all()
    assert (np.diff(menu.cost) < 0).all()
