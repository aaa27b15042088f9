"""How updates become one: Flower's strategies by the names of our settings.

Flower's FedAvg weighs by what sites report as `num-examples`; the robust rules (median and trimmed mean per number, the
site nearest to the others, or several) bear `malicious` sites that send anything. Noise for a whole site is Flower's own
wrapper around FedAvg.
"""

from collections.abc import Callable

from flwr.serverapp.strategy import (
    Bulyan,
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
    FedMedian,
    FedTrimmedAvg,
    Krum,
    MultiKrum,
    Strategy,
)

from edgegen.tune.federation.settings import FederatedSettings

WEIGHT = "num-examples"

# Each takes the settings, the sites of a round, and what all strategies share.
_RULES: dict[str, Callable[..., Strategy]] = {
    "fedavg": lambda s, k, **shared: FedAvg(**shared),
    "median": lambda s, k, **shared: FedMedian(**shared),
    # Rounded up a little: Flower takes the whole part of beta·K at each end.
    "trimmed-mean": lambda s, k, **shared: FedTrimmedAvg(beta=min(0.499, s.malicious / k + 1e-9), **shared),
    "krum": lambda s, k, **shared: Krum(num_malicious_nodes=s.malicious, **shared),
    "multi-krum": lambda s, k, **shared: MultiKrum(
        num_malicious_nodes=s.malicious, num_nodes_to_select=max(1, k - s.malicious - 2), **shared
    ),
    "bulyan": lambda s, k, **shared: Bulyan(num_malicious_nodes=s.malicious, **shared),
}


def strategy(settings: FederatedSettings, sites: int) -> Strategy:
    """Return Flower's strategy for a round in which `sites` sites answered, or are asked."""
    shared = {
        "fraction_train": 1.0,  # who is asked is drawn before, from the run's seed
        "fraction_evaluate": 1.0,
        "min_train_nodes": 1,
        "min_evaluate_nodes": 1,
        "min_available_nodes": 1,
        "weighted_by_key": WEIGHT,
    }
    rule = _RULES[settings.aggregator](settings, sites, **shared)
    if settings.privacy.kind != "client":
        return rule
    # The noise is of the mean over those who answered: with fewer of them one moves the mean further.
    return DifferentialPrivacyServerSideFixedClipping(
        rule, settings.privacy.noise, settings.privacy.clip, num_sampled_clients=sites
    )
