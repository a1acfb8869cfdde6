from __future__ import annotations

import pytest
from ansible_collections.llm.serving.plugins.module_utils.gpu import topology
from ansible_collections.llm.serving.plugins.module_utils.gpu.text import OutputError

from .conftest import fixture_text


def test_escape_sequences_and_network_cards() -> None:
    found = topology.parse(fixture_text("topo-h100x4.txt"))
    assert found.links[0] == ("X", "NV18", "NV18", "NV18")
    assert all(found.links[i][i] == "X" for i in range(4))
    assert found.numa_nodes == (0, 0, 1, 1)
    assert found.cpu_affinity == ("0-31", "0-31", "32-63", "32-63")


def test_escape_sequences_without_their_first_byte() -> None:
    assert topology.parse(fixture_text("topo-h100x4.txt").replace("\x1b", "")).links[0][1] == "NV18"


def test_columns_before_the_numa_column_existed() -> None:
    found = topology.parse("\tGPU0\tGPU1\tCPU Affinity\nGPU0\t X \tPIX\t0-7\nGPU1\tPIX\t X \t0-7\n")
    assert found.links == (("X", "PIX"), ("PIX", "X"))
    assert found.numa_nodes == (None, None)


def test_affinities_that_are_not_known() -> None:
    found = topology.parse("\tGPU0\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\nGPU0\t X \t0-7\tN/A\t\tN/A\n")
    assert (found.links, found.cpu_affinity, found.numa_nodes) == ((("X",),), ("0-7",), (None,))


def test_retyped_with_spaces() -> None:
    found = topology.parse(
        "        GPU0    GPU1    CPU Affinity\nGPU0     X      NV4     0-15\nGPU1    NV4      X      0-15\n"
    )
    assert found.links == (("X", "NV4"), ("NV4", "X"))


@pytest.mark.parametrize("text", ["", "No devices were found", "\tGPU0\tGPU1\nGPU0\t X \tSYS\n"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(OutputError, match="expected"):
        topology.parse(text)
