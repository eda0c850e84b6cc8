"""Validation: a file of a run that does not hold what was written is refused in a sentence."""

import json
import math
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import selfsight
from selfsight import encoders
from selfsight.errors import SelfsightError
from selfsight.probes.network import named_network
from selfsight.system import validation
from selfsight.training import checkpoint
from selfsight.training.loop import Training
from selfsight.training.plan import Plan
from selfsight.training.run import Run
from selfsight.training.weights import trained_tasks

FLIPS = 10  # bits of each damaged copy
STEPS = 4
Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run that saved after every step."""
    place = tmp_path_factory.mktemp("kept") / "run"
    selfsight.pretrain(
        "digits",
        "rotation",
        out=str(place),
        encoder="test_resnet",
        size=16,
        batch=8,
        samples=8 * STEPS,
        precision="f32",
        save_every=0.0,
        threads=1,
    )
    return place


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "run"))


def flipped(content: bytes, seed: int) -> bytes:
    """Flip some bits anywhere."""
    chance, damaged = random.Random(seed), bytearray(content)
    for bit in chance.sample(range(8 * len(content)), FLIPS):
        damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def unfinished(run: Path) -> None:
    """Make a run of which no record was written."""
    shutil.rmtree(run / "results")


def rewritten(path: Path, change: Callable[[Any], object]) -> None:
    """Change values in a JSON file."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def rechecked(path: Path, change: Callable[[Any], object]) -> None:
    """Change what a checkpoint holds; its checksums are then right."""
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.equal(b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_of_a_hundred_checkpoints_with_flipped_bits_none_is_taken_for_sound(run: Path) -> None:
    path = run / "checkpoint.pt"
    whole, content = checkpoint.read(path), path.read_bytes()
    refused: list[str] = []
    for seed in range(100):
        path.write_bytes(flipped(content, seed))
        try:
            assert same(checkpoint.read(path), whole)  # only what pads the zip was hit
        except SelfsightError as error:
            refused.append(str(error))

    assert len(refused) > 90
    assert all("checkpoint.pt is damaged" in said for said in refused)


def test_of_sixty_encoders_with_flipped_bits_none_is_taken_for_sound(run: Path) -> None:
    path = run / "encoder.safetensors"
    content = path.read_bytes()
    for seed in range(60):
        path.write_bytes(flipped(content, seed))
        with pytest.raises(SelfsightError, match=r"encoder\.safetensors: its SHA-256 must be"):
            encoders.load(run)


def test_a_damaged_checkpoint_is_refused_and_the_one_before_offered_and_exact(
    run: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "checkpoint.pt"
    path.write_bytes(flipped(path.read_bytes(), 0))
    unfinished(run)

    offered = (
        rf"checkpoint\.pt is damaged .*; the one before it, of step {STEPS - 1}, is sound: "
        rf"mv {run}/checkpoint-before\.pt {run}/checkpoint\.pt, then selfsight pretrain --resume"
    )
    with pytest.raises(SelfsightError, match=offered):
        selfsight.pretrain(resume=str(run))
    (run / "checkpoint-before.pt").replace(path)
    selfsight.pretrain(resume=str(run))

    first, again = (checkpoint.read(place / "checkpoint.pt") for place in (made, run))
    assert same(first["task"], again["task"])
    assert [row["step"] for row in Run(run).metrics()] == list(range(1, STEPS + 1))


def test_two_damaged_checkpoints_lead_to_the_encoder(run: Path) -> None:
    for name in ("checkpoint.pt", "checkpoint-before.pt"):
        (run / name).write_bytes(flipped((run / name).read_bytes(), 0))

    with pytest.raises(SelfsightError, match=r"is damaged too, so start a new run .* --from"):
        Run(run).load_checkpoint()
    (run / "checkpoint-before.pt").unlink()
    with pytest.raises(SelfsightError, match=r"no earlier one is kept, so start a new run"):
        Run(run).load_checkpoint()


def test_a_checkpoint_that_is_missing_beside_the_one_before_is_not_begun_anew(run: Path) -> None:
    (run / "checkpoint.pt").unlink()

    with pytest.raises(SelfsightError, match=r"is missing; the one before it, of step 3, is sound"):
        Run(run).load_checkpoint()


def test_the_last_checkpoint_stays_in_its_place_where_none_can_be_put_aside(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (run / "checkpoint.pt").read_bytes()

    def without_links(*_: object) -> None:
        raise PermissionError(1, "no second names here")

    monkeypatch.setattr(os, "link", without_links)
    checkpoint.save(run, checkpoint.read(run / "checkpoint.pt") | {"step": 1})

    assert checkpoint.read(run / "checkpoint.pt")["step"] == 1
    assert (run / "checkpoint-before.pt").read_bytes() == before


def test_after_one_that_could_not_be_written_the_next_leaves_nothing_behind(run: Path) -> None:
    last, before = run / "checkpoint.pt", run / "checkpoint-before.pt"
    before.unlink()
    os.link(last, before)  # as the one that failed left them
    kept = last.read_bytes()
    checkpoint.save(run, checkpoint.read(last) | {"step": 1})

    assert checkpoint.read(last)["step"] == 1
    assert before.read_bytes() == kept
    assert list(run.glob("*.part")) == []


def cut_short(state: dict[str, Any]) -> None:
    state["task"] = {k: v[:1] if v.ndim else v for k, v in state["task"].items()}


def first_weight(state: dict[str, Any], value: float) -> None:
    next(iter(state["task"].values())).view(-1)[0] = value


WRONG_STATES: dict[str, tuple[Callable[[Any], object], str]] = {
    "no step": (lambda s: s.pop("step"), "step is missing"),
    "a step below 0": (lambda s: s.update(step=-1), "step must be from 0 to 4, got -1"),
    "a step past the last": (lambda s: s.update(step=5), "step must be from 0 to 4, got 5"),
    "a step that is no number": (lambda s: s.update(step="2"), "step must be a whole number"),
    "seconds that are none": (lambda s: s.update(seconds=float("nan")), "seconds must be a finite"),
    "a weight that is NaN": (lambda s: first_weight(s, float("nan")), "must be finite, and holds"),
    "an infinite weight": (lambda s: first_weight(s, float("inf")), "must be finite, and holds"),
    "weights that are a list": (lambda s: s.update(task=[1]), "task must hold tensors by name"),
    "a word for a weight": (lambda s: s["task"].update(x="a"), "task x must be a tensor, and is"),
    "more numbers than there are": (
        lambda s: s["task"].update(x=torch.zeros(1).expand(2**40)),
        "must hold all of its 1,099,511,627,776 numbers",
    ),
    "weights cut short": (cut_short, r"must be of this run, and is not: weights .* must be"),
    "a weight too many": (lambda s: s["task"].update(x=torch.zeros(1)), "weights x belong to none"),
    "counts without sums": (lambda s: s.update(counts={"loss": 1}), "must be of the same metrics"),
    "a generator cut short": (
        lambda s: s.update(generator=s["generator"].flatten()[:16]),
        "generators' states must be 5,056 bytes, and are 16",
    ),
    "no generator": (lambda s: s.pop("generator"), "generators' states must be 5,056 bytes"),
    "no optimiser": (lambda s: s.pop("optimizer"), "optimizer must be an object, got None"),
    "momentum of another shape": (
        lambda s: s["optimizer"]["state"][0].update(momentum_buffer=torch.zeros(3)),
        "momentum_buffer of weight 0 must be of the weight's shape",
    ),
    "another decay": (
        lambda s: s["optimizer"]["param_groups"][0].update(weight_decay=7.0),
        "weight_decay of a group of weights must be 0.0005, and is 7.0",
    ),
}


@pytest.mark.parametrize("case", WRONG_STATES)
def test_a_checkpoint_that_holds_what_it_cannot_is_refused(run: Path, case: str) -> None:
    change, said = WRONG_STATES[case]
    rechecked(run / "checkpoint.pt", change)
    unfinished(run)

    with pytest.raises(SelfsightError, match=said):
        selfsight.pretrain(resume=str(run))


def test_bytes_that_are_no_checkpoint_are_said(run: Path) -> None:
    path = run / "checkpoint.pt"
    whole = path.read_bytes()
    for content in (b"", b"PK", whole[: len(whole) // 2], b"\x80\x02}q\x00.", os.urandom(999)):
        path.write_bytes(content)
        with pytest.raises(SelfsightError, match=r"checkpoint\.pt is damaged"):
            Run(run).load_checkpoint()
    path.unlink()
    path.mkdir()
    with pytest.raises(SelfsightError, match=r"it must be a file, and is not"):
        Run(run).load_checkpoint()


def test_a_finished_run_without_its_checkpoint_is_left_as_it_is(run: Path) -> None:
    before = (run / "encoder.safetensors").read_bytes()
    for name in ("checkpoint.pt", "checkpoint-before.pt"):
        (run / name).unlink()

    with pytest.raises(SelfsightError, match=r"is finished, and its checkpoint is missing"):
        selfsight.pretrain(resume=str(run))
    assert (run / "encoder.safetensors").read_bytes() == before


@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_an_encoder_is_written_again_from_the_checkpoint(run: Path, damage: str) -> None:
    path = run / "encoder.safetensors"
    before = path.read_bytes()
    path.write_bytes(flipped(before, 0))
    if damage == "missing":
        path.unlink()

    with pytest.raises(SelfsightError, match=r"pretrain --resume .* writes it again"):
        selfsight.load(run)
    rewritten(run / "settings.json", of_plan(fingerprint="of data that has grown since"))
    selfsight.pretrain(resume=str(run))
    assert path.read_bytes() == before
    assert selfsight.load(run).dim > 0


def test_an_optimiser_that_has_overflowed_is_not_saved(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = Training._advance

    def overflowing(training: Training) -> None:
        advance(training)
        if training.step == 2:
            first = next(iter(training.optimizer.state.values()))
            first["exp_avg_sq"].view(-1)[0] = math.inf  # its weight no longer moves, and is finite

    monkeypatch.setattr(Training, "_advance", overflowing)
    with pytest.raises(SelfsightError, match=r"the optimiser's state stopped being a number"):
        selfsight.pretrain(
            "digits", "rotation", out=str(tmp_path / "new"), encoder="test_resnet", size=16,
            batch=8, samples=8 * STEPS, optimizer="adamw", save_every=0.0,
        )  # fmt: skip

    assert Run(tmp_path / "new").load_checkpoint()["step"] == 1  # pyright: ignore[reportOptionalSubscript]


@pytest.mark.parametrize("asked", [{"clip": 1e20}, {"rate": 1e-30}, {"save_every": 1e20}])
def test_what_may_be_asked_may_be_kept(asked: dict[str, float], tmp_path: Path) -> None:
    run = selfsight.pretrain(
        "digits", "rotation", out=str(tmp_path / "new"), encoder="test_resnet", size=16, batch=8,
        samples=8, **asked,
    )  # fmt: skip

    assert getattr(Plan.of(run), next(iter(asked))) == next(iter(asked.values()))


def of_plan(**changes: object) -> Callable[[Any], object]:
    return lambda settings: settings["plan"].update(changes)


def of_recipe(**changes: object) -> Callable[[Any], object]:
    return lambda settings: settings["plan"]["encoder"].update(changes)


WRONG_SETTINGS: dict[str, tuple[Callable[[Any], object], str]] = {
    "no plan": (lambda s: s.pop("plan"), "plan must be an object, got None"),
    "a plan that is a list": (lambda s: s.update(plan=[]), r"plan must be an object, got \[\]"),
    "a list of words for skipped": (lambda s: s.update(skipped=["a"]), "skipped must be a list"),
    "steps below 0": (of_plan(steps=-1), "steps must be from 1 to .*, got -1"),
    "a million threads": (of_plan(threads=1_000_000), "threads must be from 1 to 1,024"),
    "no batch": (of_plan(batch=0), "batch must be from 1 to"),
    "a batch above the data": (of_plan(batch=10**6), r"batch must be from 0 to 1,797"),
    "a side of a billion": (of_plan(size=10**9), "size must be from 1 to 32,768"),
    "a number too long": (of_plan(samples=10**4000), "samples must be a whole number"),
    "true for a number": (of_plan(batch=True), "batch must be a whole number, got True"),
    "a list for a number": (of_plan(batch=[8]), r"batch must be a whole number, got \[8\]"),
    "a number for tasks": (of_plan(tasks=3), "tasks must be a list, each a text"),
    "an unknown task": (of_plan(tasks=["rotatoin"]), "unknown task 'rotatoin'; did you mean"),
    "no task": (of_plan(tasks=[]), "tasks must be one or several"),
    "an unknown device": (of_plan(device="tpu"), "device must be cpu or cuda, got 'tpu'"),
    "an unknown precision": (of_plan(precision="f8"), "precision must be f32 or bf16"),
    "an unknown optimiser": (of_plan(optimizer="lion"), "optimizer must be sgd or adamw"),
    "an unknown tracker": (of_plan(track=["spy"]), "unknown tracker 'spy'"),
    "probes without end": (of_plan(probe_every=1.0000001), "probe_every must be at least 1.001"),
    "a thousand processes": (of_plan(devices=1000), "devices must be from 1 to 256"),
    "a key of the future": (of_plan(hyperspace=1), "holds 'hyperspace', unknown to this version"),
    "a key too few": (lambda s: s["plan"].pop("rate"), "rate is missing"),
    "a null in a path": (of_plan(data="a\0b"), "must hold no null character"),
    "a network's place": (of_recipe(name=7), "name must be a text, got 7"),
    "a mean that is none": (of_recipe(mean=["a"] * 3), "mean must be a list, each a finite"),
    "weights from a file": (
        of_recipe(arguments={"checkpoint_path": "/x"}),
        "arguments must not hold checkpoint_path",
    ),
    "a path in an argument": (of_recipe(arguments={"a": "/etc/x"}), "arguments must be numbers"),
    "a million layers": (of_recipe(arguments={"layers": [10**7]}), "numbers up to 1,048,576"),
}


@pytest.mark.parametrize("case", WRONG_SETTINGS)
def test_settings_that_no_run_has_are_refused_by_name(run: Path, case: str) -> None:
    change, said = WRONG_SETTINGS[case]
    rewritten(run / "settings.json", change)

    with pytest.raises(SelfsightError, match=rf"settings\.json is damaged .*{said}"):
        selfsight.pretrain(resume=str(run))
    with pytest.raises(SelfsightError, match=rf"settings\.json is damaged .*{said}"):
        named_network(str(run))


CONTENT = {
    "nothing": b"",
    "a brace": b"{",
    "a list": b"[]",
    "a number": b"7",
    "bytes": b"\xff\xfe\x00",
    "nesting": b"[" * 200_000,
    "NaN": b'{"plan": NaN}',
    "endless digits": b'{"plan": ' + b"9" * 5000 + b"}",
}


def read_settings(run: Path) -> object:
    return Run(run).settings


def read_result(run: Path) -> object:
    return Run(run).result("pretrain")


FILES: dict[str, Callable[[Path], object]] = {
    "settings.json": read_settings,
    "results/pretrain.json": read_result,
    "encoder.json": encoders.load,
}


@pytest.mark.parametrize("content", CONTENT)
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_record_is_said_of_every_file(run: Path, name: str, content: str) -> None:
    (run / name).write_bytes(CONTENT[content])

    with pytest.raises(SelfsightError, match=r"is damaged"):
        FILES[name](run)


@pytest.mark.parametrize("name", FILES)
def test_a_folder_or_a_pipe_in_a_files_place_is_said_and_not_waited_for(
    run: Path, name: str
) -> None:
    (run / name).unlink()
    (run / name).mkdir()
    with pytest.raises(SelfsightError, match="must be a file, and is not"):
        FILES[name](run)
    (run / name).rmdir()
    os.mkfifo(run / name)
    with pytest.raises(SelfsightError, match="must be a file, and is not"):
        FILES[name](run)


HEADER = "step,epoch,samples,loss\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "its columns are"),
        ("samples,loss\n1,2\n", "its columns are"),
        (HEADER + "1,0.1,8,much\n", "line 2 has 'much' under 'loss'"),
        (HEADER + "1,0.1,8,nan\n", "line 2 has 'nan' under 'loss'"),
        (HEADER + "1,0.1,8,1e999\n", "line 2 has '1e999' under 'loss'"),
        (HEADER + "-1,0.1,8,1\n", "line 2 has '-1' under 'step'"),
        (HEADER + ",0.1,8,1\n", "line 2 has '' under 'step'"),
        (HEADER + "1,0.1,8\n", "line 2 has 3 cells of 4"),
        (HEADER + "1,0.1,8,1,2\n", "line 2 has 5 cells of 4"),
        (HEADER + "2,0.1,8,1\n1,0.1,8,1\n", "line 3 has step 1, which must rise from line to line"),
        (HEADER + "9" * 30 + ",0.1,8,1\n", "line 2 has '99999"),
        (HEADER + '1,0.1,8,"1\n', "it must be a table of numbers"),
        ("\0" * 500, "it must be a table of numbers"),
    ],
)
def test_a_table_of_metrics_that_is_none_is_refused_with_its_line(
    run: Path, content: str, said: str
) -> None:
    (run / "metrics.csv").write_text(content)

    with pytest.raises(SelfsightError, match=rf"metrics\.csv is damaged .*{said}"):
        Run(run).metrics()


def test_bytes_in_the_place_of_metrics_are_said(run: Path) -> None:
    (run / "metrics.csv").write_bytes(os.urandom(300) + b"\xff")

    with pytest.raises(SelfsightError, match=r"metrics\.csv is damaged .*must be UTF-8"):
        Run(run).metrics()


def test_metrics_come_back_as_they_were_written(run: Path) -> None:
    rows = [{"step": 1, "samples": 8, "loss": 1e-17}, {"step": 2, "samples": 16, "loss": -2.5e30}]
    Run(run).write_metrics(rows)

    assert Run(run).metrics() == rows


def earlier(settings: Any) -> None:
    """Turn a plan into one of a run that was begun when a run had one task."""
    plan = settings["plan"]
    plan["task"], plan["task_settings"] = "rotation", plan["task_settings"]["rotation"]
    for key in ("tasks", "mix", "labels", "learned", "resting", "save_every"):
        plan.pop(key, None)


def test_a_run_of_an_earlier_version_is_read(run: Path) -> None:
    rewritten(run / "settings.json", earlier)
    rewritten(run / "encoder.json", lambda recipe: recipe.pop("weights"))

    assert Plan.of(Run(run)).tasks == ("rotation",)
    assert named_network(str(run)).encoder.dim > 0


def test_the_hash_is_of_the_weights_and_a_kill_while_they_are_replaced_leaves_a_pair(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = json.loads((run / "encoder.json").read_text())["weights"]
    encoder = encoders.load(run)
    encoder.body.load_state_dict({k: v + 1 for k, v in encoder.body.state_dict().items()})

    def broken_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # between the first recipe and the weights
        patch.setattr("selfsight.encoders.saved.write_bytes", broken_off)
        with pytest.raises(KeyboardInterrupt):
            encoders.save(encoder, run)
    both = json.loads((run / "encoder.json").read_text())["weights"]
    assert both[0] == old[0]
    assert len(both) == 2
    encoders.load(run)
    encoders.save(encoder, run)
    assert json.loads((run / "encoder.json").read_text())["weights"] == both[1:]
    encoders.load(run)


def refilled(run: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change an encoder's weights, and their hash with them."""
    path = run / "encoder.safetensors"
    state = safetensors.torch.load(path.read_bytes())
    change(state)
    path.write_bytes(safetensors.torch.save(state))
    rewritten(run / "encoder.json", lambda recipe: recipe.pop("weights"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["conv1.0.weight", "bn1.running_var", "bn1.running_mean"])
def test_weights_and_statistics_that_are_no_numbers_are_refused_by_name(
    run: Path, name: str, value: float
) -> None:
    refilled(run, lambda state: state[name].view(-1)[0:1].fill_(value))

    for ask in (selfsight.load, lambda path: named_network(str(path))):
        with pytest.raises(SelfsightError, match=rf"must be finite numbers, and {name} holds"):
            ask(run)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mean": [None]}, "mean must be a list, each a finite number"),
        ({"mean": [1e999]}, "holds Infinity, which is not a number"),
        ({"deviation": [0.0]}, "deviation must be above 0 in every channel, got 0.0"),
        ({"deviation": [-1.0]}, "deviation must be above 0"),
        ({"feed": {"colours": "none"}}, "feed.colours must be all or projected"),
        ({"weights": [7]}, "weights must be a list, each a text or null"),
        ({"arguments": {"pretrained": True}}, "arguments must not hold pretrained"),
        ({"arguments": {"pretrained_cfg_overlay": {}}}, "must not hold pretrained_cfg_overlay"),
        ({"arguments": {"cache_dir": "x"}}, "must not hold cache_dir"),
        ({"arguments": {"block": "../x"}}, "arguments must be numbers"),
        ({"arguments": {"layers": [10**6]}}, "far larger than its weights"),
        ({"arguments": {"in_chans": 1, "num_classes": 7}}, "weights fc.weight are missing"),
        ({"name": "resnet152"}, "it must describe encoder.safetensors, and does not"),
        ({"name": "hf-hub:somebody/something"}, "this timm has no architecture 'hf-hub"),
        ({"size": 10**9}, "size must be from 1 to 32,768"),
    ],
)
def test_a_recipe_that_says_what_it_may_not_is_refused(
    run: Path, change: dict[str, Any], said: str
) -> None:
    rewritten(run / "encoder.json", lambda recipe: recipe.update(change))

    with pytest.raises(SelfsightError, match=said):
        selfsight.load(run)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (of_recipe(name="hf-hub:somebody/something"), "no architecture 'hf-hub"),
        (of_recipe(name="local-dir:/tmp"), "no architecture 'local-dir"),
        (of_recipe(name="vit_huge_patch14_clip_224"), "far larger than its weights"),
        (lambda s: s["plan"]["task_settings"].update(rotation={"least_scale": "a"}), "least_scale"),
        (lambda s: s["plan"]["task_settings"].update(rotation={"depth": 3}), "'depth'"),
        (lambda s: s["plan"].update(task_settings={}), "settings of rotation must be an object"),
    ],
)
def test_a_plan_reaches_for_nothing_and_builds_nothing_larger_than_its_checkpoint(
    run: Path, change: Callable[[Any], object], said: str
) -> None:
    rewritten(run / "settings.json", change)

    with pytest.raises(SelfsightError, match=said):
        trained_tasks(Run(run))


def test_the_run_that_a_run_began_from_is_not_opened(run: Path) -> None:
    rewritten(run / "settings.json", of_plan(start=str(run), labels=None))

    assert named_network(str(run)).knows_labels  # what it began from may have known them
    rewritten(run / "settings.json", of_plan(start="/nowhere", labels=False))
    assert not named_network(str(run)).knows_labels


def test_features_that_are_no_numbers_are_refused_by_their_layer(run: Path) -> None:
    refilled(run, lambda state: state["layer4.0.conv1.weight"].fill_(3e38))

    with pytest.raises(SelfsightError, match="must be finite, got infinity or NaN in layer"):
        selfsight.embed(run, "digits", out=str(run.parent / "x.npz"), limit=8)
    with pytest.raises(SelfsightError, match="must be finite, got infinity or NaN in layer"):
        selfsight.probe(run, "digits", quick=True, labels=50)
    with pytest.raises(SelfsightError, match="must be finite, got infinity or NaN in layer"):
        selfsight.neighbours(run, "digits", limit=50, out=str(run.parent / "x.png"))


def test_a_value_that_is_shown_is_short_and_has_no_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(["\x1b[31m" * 1000]))

    with pytest.raises(validation.Damaged) as caught:
        validation.read_record(path, remedy="remove it")
    assert len(str(caught.value)) < 400
    assert "\x1b" not in str(caught.value)
