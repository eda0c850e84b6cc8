"""The probes by their names; nothing is loaded until one is asked for."""

from typing import NamedTuple


class ProbeRow(NamedTuple):
    """What the table says of a probe.

    Attributes:
        probed: Where it is: "module:function", which takes names of probes that are asked in one
            go, the settings of `probe` and the network, and gives a record for each.
        table: Where its table for people is: "module:function", which takes a record.
    """

    probed: str
    table: str


PROBES: dict[str, ProbeRow] = {
    "linear": ProbeRow("selfsight.probes.by_layer:probed", "selfsight.probes.by_layer:table_of"),
    "knn": ProbeRow("selfsight.probes.by_layer:probed", "selfsight.probes.by_layer:table_of"),
}
