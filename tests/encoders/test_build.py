"""Build: the same seed gives the same weights, and saved encoders need only timm."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from selfsight.encoders import DEFAULT, EXAMPLES, OWN, Encoder, build, from_recipe, load, save
from selfsight.errors import SelfsightError, UsageError

SIDE = 32
ARCHITECTURES = ("resnet18", "convnext_atto", "vit_tiny_patch16_224")

# What a stranger with timm does, on the files of the folder named.
TIMM_ALONE = """
import json, sys
from pathlib import Path
import safetensors.torch, timm, torch

differences = {}
for folder in sorted(Path(sys.argv[1]).iterdir()):
    recipe = json.loads((folder / "encoder.json").read_text())
    model = timm.create_model(recipe["name"], **recipe["arguments"]).eval()
    state = safetensors.torch.load_file(folder / "encoder.safetensors")
    model.load_state_dict(state, strict=True)
    kept = safetensors.torch.load_file(folder / "kept.safetensors")
    mean = torch.tensor(recipe["mean"]).view(1, -1, 1, 1)
    deviation = torch.tensor(recipe["deviation"]).view(1, -1, 1, 1)
    with torch.no_grad():
        features = model((kept["pictures"] - mean) / deviation)
    differences[folder.name] = (features - kept["features"]).abs().max().item()
assert "selfsight" not in sys.modules
print(json.dumps(differences))
"""


def built(name: str = DEFAULT, *, channels: int = 3, seed: int = 0, **arguments: Any) -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(name, size=SIDE, channels=channels, arguments=arguments).eval()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save(built(), tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def differences(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Compare features by timm alone with the encoder's own: -> the largest difference of each."""
    top = tmp_path_factory.mktemp("encoders")
    for name in ARCHITECTURES:
        encoder, folder = built(name), top / name
        folder.mkdir()
        save(encoder, folder)
        pictures = torch.rand(2, 3, SIDE, SIDE)
        with torch.no_grad():
            kept = {"pictures": pictures, "features": encoder(pictures).contiguous()}
        safetensors.torch.save_file(kept, folder / "kept.safetensors")
    command = [sys.executable, "-c", TIMM_ALONE, str(top)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_is_saved_loads_with_timm_alone(name: str, differences: dict[str, float]) -> None:
    assert differences[name] < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_is_saved_comes_back_bit_by_bit(name: str, tmp_path: Path) -> None:
    encoder = built(name)
    save(encoder, tmp_path)

    found = load(tmp_path)

    assert found.state_dict().keys() == encoder.state_dict().keys()
    assert all(torch.equal(v, encoder.state_dict()[k]) for k, v in found.state_dict().items())
    pictures = torch.rand(2, 3, SIDE, SIDE)
    assert torch.equal(found(pictures), encoder(pictures))
    assert not found.training
    assert json.dumps(found.recipe.to_json()) == json.dumps(encoder.recipe.to_json())


def test_loading_and_saving_leave_torchs_generator_alone(saved: Path) -> None:
    state = torch.get_rng_state()
    save(load(saved), saved)

    assert torch.equal(torch.get_rng_state(), state)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_generator_alike() -> None:
    states: list[dict[str, torch.Tensor]] = []
    after: list[torch.Tensor] = []
    with torch.random.fork_rng():
        for seed in (3, 3, 4):
            torch.manual_seed(seed)
            states.append(build("vit_tiny_patch16_224", size=SIDE).state_dict())
            after.append(torch.rand(4))

    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert torch.equal(after[0], after[1])
    assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])


@torch.no_grad()
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", ["small", "vit_tiny_patch16_224"])
def test_pictures_may_have_any_channels(name: str, channels: int, tmp_path: Path) -> None:
    encoder = built(name, channels=channels)
    pictures = torch.rand(2, channels, SIDE, SIDE)

    features = encoder(pictures)
    save(encoder, tmp_path)

    assert features.shape == (2, encoder.dim)
    assert torch.equal(load(tmp_path)(pictures), features)


def test_further_arguments_reach_timm() -> None:
    narrow = built("resnet18", layers=(1, 1, 1, 1))

    assert sum(p.numel() for p in narrow.parameters()) < 6e6
    assert narrow.recipe.arguments["layers"] == (1, 1, 1, 1)


def test_a_recipe_builds_the_same_architecture() -> None:
    encoder = built("convnext_atto")

    again = from_recipe(encoder.recipe)

    assert again.recipe == encoder.recipe
    again.load_state_dict(encoder.state_dict(), strict=True)


def test_examples_are_known_to_timm() -> None:
    import timm

    assert all(timm.is_model(OWN.get(name, name)) for name in EXAMPLES)
    assert all(timm.is_model(name) for name in OWN.values())


def test_an_unknown_encoder_lists_close_matches() -> None:
    with pytest.raises(UsageError, match=r"unknown encoder 'resnet81'; did you mean .*resnet18"):
        build("resnet81", size=SIDE)
    with pytest.raises(UsageError, match=r"unknown encoder 'smal'; did you mean .*small"):
        build("smal", size=SIDE)


def test_a_size_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="'vit_tiny_patch16_224' cannot be built for 3 x 9 x 9"):
        build("vit_tiny_patch16_224", size=9)


def test_mean_and_deviation_that_are_given_stand_in_the_recipe() -> None:
    encoder = build("small", size=SIDE, channels=2, mean=(0.1, 0.2), deviation=(0.3, 0.4))

    assert (encoder.recipe.mean, encoder.recipe.deviation) == ((0.1, 0.2), (0.3, 0.4))
    pictures = torch.tensor([0.1, 0.2]).view(1, 2, 1, 1).expand(1, 2, SIDE, SIDE)
    encoder.eval()
    assert torch.equal(encoder(pictures), encoder.model(torch.zeros(1, 2, SIDE, SIDE)))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mean": (0.5,)}, "mean must hold a number for each of the 3 channels, got 1"),
        ({"deviation": (1.0,) * 4}, "deviation must hold a number for each of the 3 channels"),
        ({"deviation": (1.0, 0.0, 1.0)}, r"deviation must be above 0 in every channel, got 0\.0"),
    ],
)
def test_statistics_that_do_not_fit_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build("small", size=SIDE, **given)


def test_an_empty_folder_holds_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(SelfsightError, match=r"holds no encoder: encoder\.json is missing"):
        load(tmp_path)


def test_weights_that_are_missing_are_named(saved: Path) -> None:
    (saved / "encoder.safetensors").unlink()

    with pytest.raises(SelfsightError, match=r"holds no encoder: encoder\.safetensors is missing"):
        load(saved)


def damaged_recipe(change: dict[str, Any]) -> str:
    recipe = {**built().recipe.to_json(), **change}
    return json.dumps({key: value for key, value in recipe.items() if value is not None})


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b"3",
        b"{}",
        damaged_recipe({"mean": None}).encode(),
        damaged_recipe({"surplus": 1}).encode(),
        damaged_recipe({"mean": 5}).encode(),
        damaged_recipe({"mean": ["a", "b", "c"]}).encode(),
        damaged_recipe({"mean": [0.5]}).encode(),
        damaged_recipe({"size": "wide"}).encode(),
        damaged_recipe({"size": -3}).encode(),
        damaged_recipe({"channels": 1}).encode(),
        damaged_recipe({"name": "resnet_none"}).encode(),
        damaged_recipe({"name": 7}).encode(),
        damaged_recipe({"name": "hf-hub:somebody/something"}).encode(),
        damaged_recipe({"name": "local-dir:/tmp"}).encode(),
        damaged_recipe({"name": "vit_tiny_patch16_224"}).encode(),
        damaged_recipe({"arguments": {"no_such_argument": 1}}).encode(),
        damaged_recipe({"arguments": {"num_classes": 0, "checkpoint_path": "/x.pt"}}).encode(),
        damaged_recipe({"arguments": [1]}).encode(),
        damaged_recipe({"layers": ["layer9"]}).encode(),
    ],
)
def test_a_damaged_recipe_is_said(content: bytes, saved: Path) -> None:
    (saved / "encoder.json").write_bytes(content)

    with pytest.raises(SelfsightError, match=r"the encoder in .* is damaged: "):
        load(saved)


@pytest.mark.parametrize("kept", [0, 7, 1000, 50_000])
def test_weights_cut_short_are_said(kept: int, saved: Path) -> None:
    path = saved / "encoder.safetensors"
    path.write_bytes(path.read_bytes()[:kept])

    with pytest.raises(SelfsightError, match=r"the encoder in .* is damaged: "):
        load(saved)


def test_weights_of_another_network_are_said(saved: Path, tmp_path_factory: Any) -> None:
    other = tmp_path_factory.mktemp("other")
    save(built("resnet18"), other)
    (other / "encoder.safetensors").replace(saved / "encoder.safetensors")

    with pytest.raises(SelfsightError, match=r"the encoder in .* is damaged: "):
        load(saved)


def test_two_encoders_share_a_folder_under_names_of_their_own(saved: Path) -> None:
    save(built(seed=1), saved, stem="encoder-teacher")

    student, teacher = load(saved), load(saved, stem="encoder-teacher")

    assert not torch.equal(next(student.parameters()), next(teacher.parameters()))
