"""Traces by name and from the files that Azure publishes."""

import numpy as np
import pytest

from edgegen.core.errors import InputError, UnknownNameError
from edgegen.experiments.arrivals import Mix, asks_at
from edgegen.experiments.traces import PACKAGED, SUMMARIES, open_arrivals


def times(source, seconds=1e6) -> list[float]:
    return open_arrivals(str(source)).times(seconds, np.random.default_rng(0)).tolist()


def test_packaged_traces_have_the_size_that_their_source_states():
    sizes = {name: open_arrivals(name).mean_hz * open_arrivals(name).length_s for name in PACKAGED}
    assert sizes["azure-llm-conv"] == pytest.approx(19_366)
    assert sizes["azure-llm-code"] == pytest.approx(8_819)
    assert open_arrivals("azure-functions").length_s == 347


@pytest.mark.parametrize(("least", "most", "published"), [(1, 8, 1633), (4, 32, 6680), (3.5, 28, 5857)])
def test_the_shape_between_two_rates_has_about_as_many_requests_as_the_published_trace(least, most, published):
    trace = open_arrivals("azure-functions").between(least, most)
    assert trace.mean_hz * trace.length_s == pytest.approx(published, rel=0.06)


@pytest.mark.parametrize("name", SUMMARIES)
def test_every_named_trace_draws_at_a_rate_that_is_asked_for(name):
    trace = open_arrivals(name).at_rate(20.0)
    seconds = min(trace.length_s, 240.0)
    assert trace.mean_hz == pytest.approx(20.0)
    assert len(trace.times(seconds, np.random.default_rng(0))) > 5 * seconds


def test_the_public_format_of_llm_traces_is_read(tmp_path):
    path = tmp_path / "AzureLLMInferenceTrace_conv.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n"
        "2023-11-16 18:15:50.9951690,396,109\n2023-11-16 18:15:51.2224670,879,55\n"
    )
    assert times(path) == pytest.approx([0.0, 4.314579, 4.541877], abs=1e-6)
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,1,2\n2024-05-10 00:00:01+00:00,1,2\n"
    )
    assert times(path) == pytest.approx([0.0, 0.99007], abs=1e-6)


def test_the_public_formats_of_functions_traces_are_read(tmp_path):
    path = tmp_path / "invocations_per_function_md.anon.d01.csv"
    minutes = [0] * 1440
    minutes[2] = 600
    head = ["HashOwner", "HashApp", "HashFunction", "Trigger", *map(str, range(1, 1441))]
    rows = [["o", "a", f"f{n}", "http", *map(str, minutes)] for n in range(2)]
    path.write_text("\n".join(",".join(row) for row in (head, *rows)) + "\n")
    found = np.array(times(path))
    assert len(found) == pytest.approx(1200, rel=0.1)
    assert ((found >= 120) & (found < 180)).all()
    path.write_text("app,func,end_timestamp,duration\na,f,10.5,0.5\na,g,12.0,4.0\n")
    assert times(path) == [0.0, 2.0]


def test_moments_of_ones_own_are_read(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("# mine\nat_s\n5\n7.5\n")
    assert times(path) == [0.0, 2.5]


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "at_s\n", "at_s\nsoon\n", "TIMESTAMP,ContextTokens\nyesterday,1\n", ""])
def test_a_file_that_is_no_trace_is_refused_with_its_name(tmp_path, text):
    path = tmp_path / "odd.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=r"odd\.csv"):
        open_arrivals(str(path))


def test_a_name_that_is_no_trace_is_refused_with_those_that_are():
    with pytest.raises(UnknownNameError, match=r"azure-llm-conv"):
        open_arrivals("azure-llm-con")
    with pytest.raises(InputError, match=r"nowhere\.csv"):
        open_arrivals("nowhere.csv")


def test_requests_differ_as_their_mix_says():
    mix = Mix(deadlines=((1.0, 5.0, 5.0),), floored=1.0, floors=(0.5, 0.5), metered=0.0)
    asks = asks_at([0.5, 2.0], origins=["phone"], rng=np.random.default_rng(0), mix=mix)
    assert [(ask.at_s, ask.deadline_s, ask.min_quality, ask.max_energy_j) for ask in asks] == [
        (0.5, 5.0, 0.5, None),
        (2.0, 5.0, 0.5, None),
    ]
