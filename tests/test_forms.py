"""Forms: the same pictures give the same weights, whatever they are written in and kept on."""

import gzip
import io
import struct
import tarfile
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.torch import load_file

import selfsight
from selfsight.data.pictures.files.decode import decoded
from selfsight.data.samples import Storage
from selfsight.errors import SelfsightError
from selfsight.training.loop import Training
from selfsight.training.run import Run

pytestmark = pytest.mark.slow  # whole trainings

COUNT = 64  # pictures
EVERYWHERE: tuple[Storage, ...] = ("memory", "map", "stream")
SETTINGS = {"encoder": "test_resnet", "batch": 8, "size": 32, "precision": "f32"}

Encoded = list[bytes]
Writer = Callable[[Path, Encoded], str]


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFSIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def photographs(shared_data: Path) -> Encoded:
    """Some of CIFAR-10's JPEG files."""
    table = pq.ParquetFile(shared_data / "cifar10" / "train.parquet")
    rows = next(table.iter_batches(COUNT, columns=["image"])).to_pylist()
    return [row["image"]["bytes"] for row in rows]


@pytest.fixture(scope="module")
def digits(shared_data: Path) -> Encoded:
    """Some of MNIST's digits, as PNG files."""
    with gzip.open(shared_data / "mnist" / "train-images-idx3-ubyte.gz") as file:
        values = np.frombuffer(file.read(16 + COUNT * 28 * 28)[16:], dtype=np.uint8)
    return [png(value) for value in values.reshape(COUNT, 28, 28)]


def png(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


def pixels(pictures: Encoded) -> np.ndarray:
    """Decode as selfsight does: -> (N, H, W) or (N, H, W, 3)."""
    values = [decoded(io.BytesIO(data)).permute(1, 2, 0).numpy() for data in pictures]
    return np.stack(values).squeeze(-1) if values[0].shape[-1] == 1 else np.stack(values)


def write_folder(root: Path, pictures: Encoded) -> str:
    suffix = ".png" if pictures[0].startswith(b"\x89PNG") else ".jpg"
    for number, data in enumerate(pictures):
        (root / f"{number:03d}{suffix}").write_bytes(data)
    return str(root)


def write_txt(root: Path, pictures: Encoded) -> str:
    folder = Path(write_folder(root, pictures))
    (root / "all.txt").write_text("\n".join(path.name for path in sorted(folder.glob("0*.*"))))
    return str(root / "all.txt")


def write_csv(root: Path, pictures: Encoded) -> str:
    names = sorted(path.name for path in Path(write_folder(root, pictures)).glob("0*.*"))
    (root / "all.csv").write_text("\n".join(["number,path", *(f"1,{name}" for name in names)]))
    return str(root / "all.csv")


def write_parquet(root: Path, pictures: Encoded) -> str:
    column = pa.array([{"bytes": data} for data in pictures])
    pq.write_table(pa.table({"image": column}), root / "all.parquet", row_group_size=20)
    return str(root / "all.parquet")


def write_npz(root: Path, pictures: Encoded) -> str:
    np.savez_compressed(root / "all.npz", images=pixels(pictures))
    return str(root / "all.npz")


def write_npy(root: Path, pictures: Encoded) -> str:
    np.save(root / "all.npy", pixels(pictures))
    return str(root / "all.npy")


def write_shards(root: Path, pictures: Encoded) -> str:
    suffix = "png" if pictures[0].startswith(b"\x89PNG") else "jpg"
    for shard in (0, 1):
        with tarfile.open(root / f"part-{shard}.tar", "w") as tar:
            half = COUNT // 2
            for number in range(shard * half, (shard + 1) * half):
                member = tarfile.TarInfo(f"{number:03d}.{suffix}")
                member.size = len(pictures[number])
                tar.addfile(member, io.BytesIO(pictures[number]))
    return str(root / "part-{0..1}.tar")


def write_idx(root: Path, pictures: Encoded) -> str:
    values = pixels(pictures)
    place = root / "all-images-idx3-ubyte"
    place.write_bytes(struct.pack(">4L", 0x803, *values.shape) + values.tobytes())
    return str(place)


FORMS: tuple[Writer, ...] = (
    write_folder,
    write_txt,
    write_csv,
    write_parquet,
    write_npz,
    write_npy,
    write_shards,
)


def pretrained(data: str, out: Path, **settings: object) -> Run:
    chosen = {"samples": 64, **SETTINGS, **settings}
    return selfsight.pretrain(data, "rotation", out=str(out), **chosen)


def same_weights(a: Run, b: Run) -> bool:
    first, second = (load_file(run.path / "encoder.safetensors") for run in (a, b))
    heads = [run.load_checkpoint() for run in (a, b)]
    assert heads[0] is not None
    assert heads[1] is not None
    return (
        first.keys() == second.keys()
        and all(first[key].equal(second[key]) for key in first)
        and all(value.equal(heads[1]["task"][key]) for key, value in heads[0]["task"].items())
    )


def fingerprint(run: Run) -> str:
    return run.settings["plan"]["fingerprint"]


@pytest.fixture(scope="module")
def references(
    tmp_path_factory: pytest.TempPathFactory, photographs: Encoded, digits: Encoded
) -> dict[str, Run]:
    """Runs on plain folders, kept in memory."""
    root = tmp_path_factory.mktemp("references")
    runs: dict[str, Run] = {}
    for name, pictures in (("photographs", photographs), ("digits", digits)):
        (root / name).mkdir()
        runs[name] = pretrained(write_folder(root / name, pictures), root / f"run-{name}")
    return runs


@pytest.mark.parametrize("write", FORMS, ids=lambda write: write.__name__)
def test_every_form_and_storage_gives_the_same_weights(
    write: Writer, tmp_path: Path, photographs: Encoded, references: dict[str, Run]
) -> None:
    (tmp_path / "data").mkdir()
    data = write(tmp_path / "data", photographs)
    reference = references["photographs"]

    for storage in EVERYWHERE:
        run = pretrained(data, tmp_path / storage, storage=storage)
        assert run.settings["plan"]["storage"] == storage
        assert same_weights(run, reference)
        assert (fingerprint(run) == fingerprint(reference)) == (storage != "stream")


@pytest.mark.parametrize("write", [write_idx, write_npy], ids=lambda write: write.__name__)
def test_grey_pictures_give_the_same_weights_from_idx_as_from_a_folder(
    write: Writer, tmp_path: Path, digits: Encoded, references: dict[str, Run]
) -> None:
    (tmp_path / "data").mkdir()
    data = write(tmp_path / "data", digits)

    for storage in EVERYWHERE:
        run = pretrained(data, tmp_path / storage, storage=storage)
        assert same_weights(run, references["digits"])
        assert not same_weights(run, references["photographs"])


def broken_off(data: str, out: Path, step: int, **settings: object) -> Run:
    """Start a run that breaks off at this step."""
    advance = Training._advance

    def breaking(training: Training) -> None:
        if training.step == step:
            raise OSError("the power went")
        advance(training)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_advance", breaking)
        with pytest.raises(OSError, match="the power went"):
            pretrained(data, out, save_every=0.0, **settings)
    return Run(out)


@pytest.mark.parametrize("step", [2, 5])
@pytest.mark.parametrize("storage", ["map", "stream"])
def test_a_run_on_a_map_or_a_stream_goes_on_to_the_same_bits(
    tmp_path: Path, photographs: Encoded, references: dict[str, Run], storage: str, step: int
) -> None:
    (tmp_path / "data").mkdir()
    data = write_folder(tmp_path / "data", photographs)
    broken = broken_off(data, tmp_path / "run", step, storage=storage)
    checkpoint = broken.load_checkpoint()
    assert checkpoint is not None
    assert checkpoint["step"] == step

    resumed = selfsight.pretrain(resume=str(broken.path))

    assert same_weights(resumed, references["photographs"])


def test_a_stream_with_broken_pictures_goes_on_to_the_same_bits(
    tmp_path: Path, digits: Encoded
) -> None:
    (tmp_path / "data").mkdir()
    damaged = [data[:60] if k in (7, 8, 40) else data for k, data in enumerate(digits)]
    data = write_folder(tmp_path / "data", damaged)  # their headers are whole
    whole = pretrained(data, tmp_path / "whole", storage="stream")
    broken = broken_off(data, tmp_path / "broken", 5, storage="stream")

    resumed = selfsight.pretrain(resume=str(broken.path))

    assert same_weights(resumed, whole)
    skipped = [sorted(one["title"] for one in run.settings["skipped"]) for run in (whole, resumed)]
    assert skipped == [["007.png", "008.png", "040.png"]] * 2


@pytest.mark.parametrize("storage", EVERYWHERE)
def test_a_run_on_changed_pictures_is_not_gone_on_with(
    tmp_path: Path, photographs: Encoded, storage: str
) -> None:
    (tmp_path / "data").mkdir()
    data = write_folder(tmp_path / "data", photographs)
    broken = broken_off(data, tmp_path / "run", 2, storage=storage)
    (tmp_path / "data" / "000.jpg").write_bytes(photographs[1])

    with pytest.raises(SelfsightError, match=r"other pictures than when .* --from"):
        selfsight.pretrain(resume=str(broken.path))


@pytest.mark.parametrize("storage", EVERYWHERE)
def test_tiles_go_on_to_the_same_bits(tmp_path: Path, shared_data: Path, storage: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for place in sorted((shared_data / "caltech30" / "train").iterdir())[:4]:
        picture = sorted(place.glob("*.jpg"))[0]
        (folder / f"{place.name}.jpg").write_bytes(picture.read_bytes())
    whole = pretrained(str(folder), tmp_path / "whole", tile=64)
    broken = broken_off(str(folder), tmp_path / "run", 2, tile=64, storage=storage)

    assert whole.settings["plan"]["samples"] > 4 * 9  # tiles, of pictures of about 300 px
    assert same_weights(selfsight.pretrain(resume=str(broken.path)), whole)


def test_crops_of_one_photograph_go_on_to_the_same_bits(tmp_path: Path, shared_data: Path) -> None:
    data = f"photo:{shared_data / 'large_photos' / 'ameyoko.jpg'}"
    whole = pretrained(data, tmp_path / "whole", limit=500, storage="map")
    broken = broken_off(data, tmp_path / "run", 2, limit=500)

    assert broken.settings["plan"]["storage"] == "stream"
    assert same_weights(selfsight.pretrain(resume=str(broken.path)), whole)
