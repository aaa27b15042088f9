"""What happened, or is predicted to happen: always all components by name, per task and per node."""

import dataclasses

from edgegen.core.arrays import Array
from edgegen.core.tree import value


@value
class Ledger:
    """Costs and gains of T tasks. A task that was not served has zeros and says why in its flags.

    Reward is data: weights times ledger (see `physics.objective`). Policies are compared on the ledger, never on a
    scalar alone.
    """

    quality: Array  # float[T], in [0, 1]
    upload_s: Array  # float[T], until the node has the request
    queue_s: Array  # float[T], waiting for the node after the upload
    load_s: Array  # float[T], waiting for the model to be loaded
    generate_s: Array  # float[T], generating
    download_s: Array  # float[T], until the device has the result
    device_energy_j: Array  # float[T], taken from the device's battery
    node_energy_j: Array  # float[T], used by the node for this task
    money_usd: Array  # float[T]
    crashed: Array  # bool[T], the node failed while serving it
    dropped: Array  # bool[T], refused or abandoned
    late: Array  # bool[T], after its deadline
    infeasible: Array  # bool[T], a limit other than the deadline was broken

    @property
    def total_s(self) -> Array:
        """float[T], from the decision to the result on the device."""
        return self.upload_s + self.queue_s + self.load_s + self.generate_s + self.download_s

    def row(self, index: int) -> dict[str, float | bool]:
        """Return one task's entries by name, with the total time."""
        entries = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)[index]
            entries[field.name] = bool(value) if field.name in FLAGS else float(value)
        entries["total_s"] = float(self.total_s[index])
        return entries


FLAGS = ("crashed", "dropped", "late", "infeasible")
