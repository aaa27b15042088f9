"""Learners that draw: what one round does is what is written down, and rounds teach what sites know."""

import dataclasses
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="fine-tuning needs torch")
pytest.importorskip("flwr", reason="pip install -e .[federated]")
pytest.importorskip("peft", reason="adapters need peft")

from edgegen.core.errors import InputError  # noqa: E402
from edgegen.generate.words import NOVEL, OBJECTS  # noqa: E402
from edgegen.tune import adapters, comparing, local, parts  # noqa: E402
from edgegen.tune.adapters import Lora  # noqa: E402
from edgegen.tune.federation.in_process import run_in_process  # noqa: E402
from edgegen.tune.federation.rounds import Around  # noqa: E402
from edgegen.tune.federation.settings import FederatedSettings  # noqa: E402
from edgegen.tune.judging import Exam  # noqa: E402
from edgegen.tune.local import Local  # noqa: E402
from edgegen.tune.parts import WORDS  # noqa: E402
from edgegen.tune.pictures import Task, Workshop, make  # noqa: E402
from edgegen.tune.sites import Spread, held_out_novel, make_site  # noqa: E402

pytestmark = pytest.mark.torch

SPREAD = Spread(sites=2, pictures=24, alpha=0.5)
LOCAL = Local(batch=8)
MODES = (*adapters.MODES, *parts.PARTS)


def make_sites(spread: Spread):
    return [make_site(spread, number) for number in range(spread.sites)]


def workshop(mode: str = "ffa", sites: int = 2) -> Workshop:
    lora = Lora(rank=2, mode=mode if mode in adapters.MODES else "ffa")
    return Workshop(Task(mode=mode, spread=dataclasses.replace(SPREAD, sites=sites), lora=lora, local=LOCAL))


@pytest.fixture(scope="module")
def ffa() -> Workshop:
    return workshop()


def test_sites_are_the_same_wherever_they_are_made_and_unlike_each_other():
    first, again = make_sites(SPREAD), make_site(SPREAD, 1)
    np.testing.assert_array_equal(first[1].pictures, again.pictures)
    assert first[0].captions != first[1].captions


def test_a_small_alpha_makes_sites_that_know_one_thing_and_a_large_one_makes_them_alike():
    unlike = [site.shares.max() for site in make_sites(Spread(sites=8, pictures=8, alpha=0.1))]
    alike = [site.shares.max() for site in make_sites(Spread(sites=8, pictures=8, alpha=100))]
    assert np.mean(unlike) > 0.7 > 0.4 > np.mean(alike)


def test_no_site_has_a_caption_by_which_it_is_judged():
    held = {scene.caption() for scene in held_out_novel(30, 0)}
    assert not held & {caption for site in make_sites(Spread(sites=3, pictures=60)) for caption in site.captions}


@pytest.mark.parametrize("mode", MODES)
def test_a_round_of_two_sites_is_the_mean_of_what_they_send_alone(mode):
    here = workshop(mode)
    settings = FederatedSettings.model_validate({"mode": mode, "rounds": 1, "steps": 2, "weights": "equal"})
    done = run_in_process(here.learner, 2, settings, here.start, around=Around(combine=here.combine()))
    alone = workshop(mode)
    sent = [alone.learner(number).fit(alone.start, round=1, steps=2).arrays for number in range(2)]
    for name in sent[0]:
        np.testing.assert_allclose(done.arrays[name], (sent[0][name] + sent[1][name]) / 2, atol=1e-6)
    assert any(np.abs(done.arrays[name] - here.start[name]).max() > 1e-6 for name in sent[0])


def test_split_sends_one_half_in_odd_rounds_and_the_other_in_even_ones():
    here = workshop("split")
    halves = [set(here.learner(0).fit(here.start, round=number, steps=1).arrays) - {WORDS} for number in (1, 2, 3)]
    assert halves[0] == halves[2]
    assert halves[0] | halves[1] == set(here.start) - {WORDS}
    assert not halves[0] & halves[1]


def test_one_site_alone_is_plain_training():
    here, plain = workshop(sites=1), workshop(sites=1)
    done = run_in_process(here.learner, 1, FederatedSettings(rounds=1, steps=3), here.start)
    local.train(plain.base, plain.examples([0]), LOCAL, steps=3, key=[0, 1])
    for name, array in plain.parts.start(plain.base).items():
        np.testing.assert_allclose(done.arrays[name], array, atol=1e-6)


def test_fedex_gives_the_network_that_the_ideal_average_gives():
    here = workshop("fedex")
    settings = FederatedSettings(mode="fedex", rounds=1, steps=3, weights="equal")
    done = run_in_process(here.learner, 2, settings, here.start, around=Around(combine=here.combine()))
    sent = [here.learner(number).fit(here.start, round=1, steps=3).arrays for number in range(2)]
    each = [adapters.deltas({n: a for n, a in one.items() if n != WORDS}, here.task.lora.scale) for one in sent]
    parted = adapters.deltas({n: a for n, a in done.arrays.items() if ".lora_" in n}, here.task.lora.scale)
    for layer, change in parted.items():
        ideal = (each[0][layer] + each[1][layer]) / 2
        np.testing.assert_allclose(change + done.arrays[f"{layer}.base"], ideal, atol=1e-5)


def test_the_proximal_term_holds_a_site_near_what_it_was_sent(ffa):
    def moved(proximal: float) -> float:
        ffa.parts.put(ffa.base, ffa.start)
        held = dataclasses.replace(LOCAL, proximal=proximal)
        local.train(ffa.base, ffa.examples([0]), held, steps=8, key=[0])
        after = ffa.parts.start(ffa.base)
        return float(sum(np.square(after[name] - ffa.start[name]).sum() for name in after))

    assert moved(100.0) < 0.5 * moved(0.0)


def test_training_lowers_the_loss_on_what_is_novel_and_learns_only_new_words(ffa):
    ffa.parts.put(ffa.base, ffa.start)
    known = ffa.base.vocabulary.known.detach().clone()
    examples = ffa.examples([0, 1])
    before = local.mean_loss(ffa.base, examples)
    local.train(ffa.base, examples, dataclasses.replace(LOCAL, batch=16), steps=25, key=[1])
    assert local.mean_loss(ffa.base, examples) < before - 0.01
    assert torch.equal(ffa.base.vocabulary.known, known)
    assert not np.array_equal(ffa.parts.start(ffa.base)[WORDS], ffa.start[WORDS])


def test_private_training_moves_the_adapter_and_leaves_words_and_losses_alone():
    pytest.importorskip("opacus", reason="pip install -e .[federated]")
    from edgegen.tune.privacy.promise import Privacy

    task = Task(spread=SPREAD, lora=Lora(rank=2), local=LOCAL, privacy=Privacy("example", noise=1.0, delta=1e-3))
    here = Workshop(task)
    assert WORDS not in here.start
    fitted = here.learner(0).fit(here.start, round=1, steps=2)
    assert fitted.metrics == {}
    assert any(np.abs(fitted.arrays[name] - here.start[name]).max() > 0 for name in here.start)


def test_private_positions_of_one_example_do_not_depend_on_the_others(ffa):
    few, many = (ffa.base.own_positions(np.random.default_rng(3), count, 2) for count in (4, 8))
    np.testing.assert_array_equal(few, many[:4])
    evenly = ffa.base.positions(np.random.default_rng(3), 4), ffa.base.positions(np.random.default_rng(3), 8)[:4]
    assert not np.array_equal(*evenly)
    assert ((many >= 1) & (many <= 1000)).all()


def test_what_a_site_does_is_the_same_in_its_own_process_as_beside_others():
    task = Task(spread=SPREAD, lora=Lora(rank=2), local=LOCAL)
    options = json.loads(json.dumps(task.options()))
    there = make(1, 2, options).fit(Workshop(task).start, round=2, steps=2)
    here = Workshop(Task.of(options))
    here.learner(0).fit(here.start, round=2, steps=2)
    again = here.learner(1).fit(here.start, round=2, steps=2)
    for name in there.arrays:
        np.testing.assert_allclose(there.arrays[name], again.arrays[name], atol=1e-6)


def test_a_task_for_other_sites_or_with_unknown_options_is_refused():
    options = Task(spread=SPREAD).options()
    with pytest.raises(InputError, match="for 2 sites, and 3 take part"):
        make(0, 3, options)
    with pytest.raises(InputError, match="do not describe a task"):
        Task.of({**options, "spread": {"places": 3}})


def test_the_judge_sees_that_the_base_knows_no_novel_object(ffa):
    marks = comparing.untouched(ffa, Exam.of(3, 3))
    assert marks.right(marks.rows(category=NOVEL)) <= 0.1
    assert marks.known > 0.6
    assert set(marks.by_object()) == set(OBJECTS)
    assert marks.for_site([1.0, 0, 0, 0]) == pytest.approx(marks.by_object()[next(iter(OBJECTS))])
