"""Settings refuse what cannot hold together, with the reason and a way out."""

from pathlib import Path

import pytest

from edgegen.core.errors import ConfigError
from edgegen.tune.federation.settings import (
    FederatedSettings,
    PrivacySection,
    SecureSection,
    asked_sites,
    check_sites,
    needed_sites,
    parse,
)

SECURE = {"shares": 3, "threshold": 2}
CLIENT = {"kind": "client", "noise": 0.5}

REFUSED = [
    ({"secure": SECURE, "aggregator": "median"}, "'median' has to compare them"),
    ({"secure": SECURE, "aggregator": "krum"}, "'krum' has to compare them"),
    ({"secure": SECURE, "mode": "fedex"}, "use mode 'ffa'"),
    ({"secure": SECURE, "bits": 8}, "leave bits at 32"),
    ({"privacy": {"kind": "example", "noise": 1.0}, "evaluate": "sites"}, "may leave a site"),
    ({"secure": SECURE, "privacy": CLIENT, "weights": "equal"}, "privacy.kind 'example'"),
    ({"privacy": CLIENT}, "set weights='equal'"),
    ({"privacy": CLIENT, "weights": "equal", "aggregator": "bulyan"}, "does not hold for 'bulyan'"),
    ({"privacy": CLIENT, "weights": "equal", "mode": "fedex"}, "use mode 'ffa'"),
    ({"mode": "fedex", "aggregator": "median"}, "'median' is none"),
    ({"privacy": {"max_epsilon": 3.0}}, "a budget that nothing spends"),
    ({"privacy": {"kind": "example"}}, "privacy.noise > 0"),
    ({"secure": {"shares": 3, "threshold": 3}}, "below secure.shares, got 3 of 3"),
    ({"bits": 12}, "bits"),
    ({"aggregator": "mean"}, "aggregator"),
    ({"fraction": 0.0}, "fraction"),
    ({"round": 3}, "round"),
]


@pytest.mark.parametrize(("values", "reason"), REFUSED)
def test_what_cannot_hold_is_refused_with_the_reason(values, reason):
    with pytest.raises(ConfigError) as refused:
        parse(values)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"secure": SECURE},
        {"secure": SECURE, "mode": "fedit"},
        {"secure": SECURE, "privacy": {"kind": "example", "noise": 1.0, "max_epsilon": 8.0}},
        {"privacy": CLIENT, "weights": "equal"},
        {"aggregator": "krum", "bits": 8, "mode": "fedit"},
        {"mode": "fedex", "bits": 16},
        {"privacy": {"kind": "example", "noise": 1.0}, "aggregator": "median"},
    ],
)
def test_what_holds_together_is_taken_and_written_back(values):
    settings = parse(values)
    assert parse(settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize(
    ("aggregator", "least"), [("median", 3), ("trimmed-mean", 3), ("krum", 5), ("multi-krum", 5), ("bulyan", 7)]
)
def test_a_robust_rule_needs_enough_sites(aggregator, least):
    settings = FederatedSettings(aggregator=aggregator, malicious=1)
    check_sites(settings, least, 10)
    with pytest.raises(ConfigError, match=f"at least {least} sites a round, got {least - 1}"):
        check_sites(settings, least - 1, 10)


def test_secure_aggregation_needs_enough_sites_and_room_for_their_sum():
    settings = parse({"secure": {"shares": 5, "threshold": 3}})
    check_sites(settings, 5, 10)
    with pytest.raises(ConfigError, match="at most the 4 sites"):
        check_sites(settings, 4, 10)
    with pytest.raises(ConfigError, match="overflows"):
        check_sites(settings, 1025, 10)


def test_noise_for_few_clients_warns_and_names_the_alternative():
    settings = parse({"privacy": {"kind": "client", "noise": 1.0}, "weights": "equal"})
    (warning,) = check_sites(settings, 3, 7168)
    assert "need at least 85 sites" in warning
    assert "'example'" in warning
    assert check_sites(settings, 85, 7168) == []
    assert check_sites(parse({"privacy": {"kind": "example", "noise": 1.0}}), 3, 7168) == []


def test_how_many_sites_a_round_asks():
    assert asked_sites(FederatedSettings(fraction=0.3), 10) == 3
    assert asked_sites(FederatedSettings(fraction=0.3, min_sites=5), 10) == 5
    assert asked_sites(FederatedSettings(fraction=0.01), 10) == 1
    assert asked_sites(FederatedSettings(), 10) == 10


@pytest.mark.parametrize(
    "settings",
    [
        FederatedSettings(),
        FederatedSettings(min_sites=4),
        FederatedSettings(aggregator="krum", fraction=0.3),
        FederatedSettings(secure=SecureSection(shares=5, threshold=3), fraction=0.5),
    ],
)
def test_the_needed_sites_are_the_fewest_that_are_not_refused(settings):
    needed = needed_sites(settings)
    check_sites(settings, needed, 10)
    assert needed >= settings.min_sites
    if needed > settings.min_sites:
        with pytest.raises(ConfigError):
            check_sites(settings, needed - 1, 10)


@pytest.mark.parametrize("section", [FederatedSettings, SecureSection, PrivacySection])
def test_every_setting_is_documented(section):
    page = (Path(__file__).parents[3] / "docs" / "federated-settings.md").read_text()
    assert [name for name in section.model_fields if f"| `{name}` |" not in page] == []
