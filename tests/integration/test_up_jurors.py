"""A case on the network of a `surge up --jurors`, from the claim to the verdict, by the commands that docs/trust.md names."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli_support import Place, Up
from sandbox_support import HELLO, wat
from surge.core.court import Outcome


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_five_jurors_beside_the_network_decide_against_a_claim_that_was_made_up(tmp_path: Path, python_image: Path) -> None:
    place = Place(tmp_path / "place", python_image)
    (place.work / "hello.wasm").write_bytes(wat(HELLO))
    up = Up(place, tmp_path / "net", providers=1, relays=1, jurors=5)
    try:
        up.start()
        (offer,) = place.json("provider", "list")
        place.surge("run", "--fuel", "1G", "--memory", "1M", "hello.wasm")
        (receipt,) = [row["receipt"] for row in place.json("receipt", "list") if row["kind"] == "unit"]
        told = place.surge("dispute", "open", receipt[:12], "--result", "11" * 32, "--fuel", "5", code=1)
        assert "this wallet loses its bond" in told.text
        shown = place.json("dispute", "show", receipt[:12])
        assert shown["outcome"] == Outcome.ACQUITTED
        jury = {each["juror"] for each in shown["jurors"]}
        assert len(jury) == 5
        assert offer["operator"] not in jury
        assert all(each["revealed"] for each in shown["jurors"])
        assert up.stop() == 0
        assert not up.left()
    finally:
        up.end()
