"""Our own architectures load with timm once our encoders are imported, and nothing else of ours."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from selfsight.encoders import OWN, build, save

SIDE = 64
NAMES = ("small", "alexnet", "resnet18_small")

WITH_OUR_ENCODERS = """
import json, sys
from pathlib import Path
import safetensors.torch, timm, torch
import selfsight.encoders

differences = {}
for folder in sorted(Path(sys.argv[1]).iterdir()):
    recipe = json.loads((folder / "encoder.json").read_text())
    model = timm.create_model(recipe["name"], **recipe["arguments"]).eval()
    model.load_state_dict(safetensors.torch.load_file(folder / "encoder.safetensors"), strict=True)
    kept = safetensors.torch.load_file(folder / "kept.safetensors")
    with torch.no_grad():
        features = model((kept["pictures"] - 0.5) / 0.25)
    differences[folder.name] = (features - kept["features"]).abs().max().item()
print(json.dumps(differences))
"""


@pytest.mark.slow
@torch.no_grad()
def test_what_is_saved_loads_with_timm_after_importing_our_encoders(tmp_path: Path) -> None:
    for name in NAMES:
        encoder, folder = build(name, size=SIDE).eval(), tmp_path / name
        folder.mkdir()
        save(encoder, folder)
        pictures = torch.rand(2, 3, SIDE, SIDE)
        kept = {"pictures": pictures, "features": encoder(pictures).contiguous()}
        safetensors.torch.save_file(kept, folder / "kept.safetensors")

    command = [sys.executable, "-W", "error", "-c", WITH_OUR_ENCODERS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    differences = json.loads(done.stdout)
    assert differences.keys() == set(NAMES)
    assert max(differences.values()) < 1e-5


def test_every_name_of_ours_is_registered_by_us() -> None:
    builders = {name: timm.model_entrypoint(name) for name in OWN.values()}

    assert all(b.__module__.startswith("selfsight.encoders.") for b in builders.values())
