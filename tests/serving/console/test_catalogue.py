from __future__ import annotations

from hsnn.serving.console.catalogue import describe_features
from hsnn.serving.mirror.mirror import Mirror


def test_features_are_described_by_their_values_if_few_and_by_their_range_if_numbers(plant):
    for number in range(4):
        plant.add(f"priced-{number}", 0, price=1.5 * number, title="the same")
    mirror = Mirror()
    plant.load(mirror)
    found = describe_features(mirror)
    assert found["values"]["topic"] == [f"c{cluster}" for cluster in range(6)]
    assert found["values"]["tags"][0] == "all"
    assert "title" not in found["values"]
    assert "price" not in found["values"]  # each item has its own
    assert found["ranges"] == {"parity": [0, 1], "price": [0.0, 4.5]}
