"""``eval pictures``: FID of runs of `vidjacobi image`, with random weights in the files' format."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from vidjacobi.cli.main import main
from vidjacobi.errors import BadCheckpoint, BadInput, BadOutput, InvalidArgument
from vidjacobi.eval.pictures.networks import load_network
from vidjacobi.eval.pictures.report import sheet
from vidjacobi.eval.pictures.run import PictureEval, judge
from vidjacobi.eval.pictures.sets import open_sets
from vidjacobi.video.images import read_image

SIZE = (16, 24)


def write_dinov2(folder: Path) -> Path:
    """A folder of a tiny random DINOv2."""
    config = transformers.Dinov2Config(
        hidden_size=12, num_hidden_layers=1, num_attention_heads=2, patch_size=56, image_size=224, mlp_ratio=1
    )
    torch.manual_seed(0)
    transformers.Dinov2Model(config).save_pretrained(folder)
    return folder


def write_run(
    folder: Path,
    decoder: str = "ar",
    seed: int = 0,
    count: int = 6,
    shade: int = 0,
    size: tuple[int, int] = SIZE,
    top_p: float = 0.9,
) -> Path:
    """What `vidjacobi image` leaves: pictures of noise, which ``shade`` brightens."""
    (folder / "pictures").mkdir(parents=True)
    records = []
    for index in range(count):
        draw = np.random.default_rng([seed, index])
        picture = np.clip(draw.integers(0, 200, (*size, 3)) + shade, 0, 255).astype(np.uint8)
        name = f"{index:04d}-0_barn"
        Image.fromarray(picture).save(folder / "pictures" / f"{name}.png")
        nfe = 40 if decoder == "ar" else 10 + index
        records.append(
            {
                **{"name": name, "files": [f"{name}.png"], "index": index, "nfe": nfe, "new_tokens": 40},
                **{"rows_together": 2, "seconds": {"decode": 3.0, "to_pixels": 0.1}},
                "tokens_sha256": f"{seed} {index} {shade}",
            }
        )
    record = {
        "config": {"model": "janus:x", "tokenizer": None, "text_encoder": None, "size": None, "seed": seed},
        "decoder": {"name": decoder, "window": 16, "guarantee": "lossless"},
        "sampling": {"temperature": 1.0, "top_p": top_p, "top_k": None, "guidance": 5.0},
        "made_with": {"dtype": "float32", "weights": {"model.safetensors": {"sha256": "0"}}},
        "pictures": records,
    }
    (folder / "image.json").write_text(json.dumps(record))
    return folder


def changed(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Another ``image.json`` of a run."""
    record = json.loads((folder / "image.json").read_text())
    change(record)
    (folder / "image.json").write_text(json.dumps(record))


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dinov2(tmp_path_factory.mktemp("dinov2"))


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of torch-fidelity's Inception, as its file holds them."""
    module = pytest.importorskip(
        "torch_fidelity.feature_extractor_inceptionv3", reason="torch-fidelity is missing"
    )

    class Random(module.FeatureExtractorInceptionV3):  # type: ignore[misc, name-defined]
        def load_state_dict(self, *_: Any, **__: Any) -> None:  # type: ignore[override]
            pass

    folder = tmp_path_factory.mktemp("inception")
    torch.save({}, folder / "none.pth")
    torch.manual_seed(0)
    network = Random("random", ["2048"], feature_extractor_weights_path=str(folder / "none.pth"))
    torch.save(network.state_dict(), folder / "weights.pth")
    return folder / "weights.pth"


def evaluated(tmp_path: Path, dinov2: Path, reference: Path, *runs: Path, **settings: Any) -> dict[str, Any]:
    config = PictureEval(reference, runs, "dinov2", dinov2, draws=20, device="cpu", **settings)
    return judge(config, tmp_path / "out", overwrite=True, tell=lambda line: None)


class TestTheTable:
    def test_equal_pictures_are_as_good_as_ars_and_others_are_not(self, tmp_path: Path, dinov2: Path) -> None:
        runs = [
            write_run(tmp_path / "shaded", "sjd", shade=50),
            write_run(tmp_path / "same", "pathwise"),
            write_run(tmp_path / "one_by_one"),
        ]
        found = evaluated(tmp_path, dinov2, write_run(tmp_path / "real", seed=1), *runs)
        ar, shaded, same = found["lines"]
        assert [line["decoder"] for line in (ar, shaded, same)] == ["ar", "sjd", "pathwise"]
        assert (ar["nfe"], same["nfe"], same["window"], same["seconds"]) == (40, 12.5, 16, 1.5)
        assert same["tokens_per_pass"]["mean"] == pytest.approx(np.mean([40 / (10 + i) for i in range(6)]))
        assert (same["ar_pictures"], shaded["ar_pictures"], ar["above_ar"]) == (1, 0, None)
        assert same["distance"] == ar["distance"]
        assert same["above_ar"] == {"low": 0, "mean": 0, "high": 0}
        assert shaded["above_ar"]["low"] > 0
        assert shaded["distance"] - ar["distance"] == pytest.approx(shaded["above_ar"]["mean"])
        assert any("only 6 pictures for 12 features" in text for text in found["warnings"])

    def test_files(self, tmp_path: Path, dinov2: Path) -> None:
        runs = [write_run(tmp_path / "ar"), write_run(tmp_path / "mc_sjd-16", "mc_sjd")]
        found = evaluated(tmp_path, dinov2, write_run(tmp_path / "real", seed=1), *runs)
        out = tmp_path / "out"
        (ar, fast) = csv.DictReader((out / "results.csv").read_text().splitlines())
        assert (ar["run"], ar["above_ar"], fast["decoder"], fast["nfe"]) == ("ar", "", "mc_sjd", "12.5")
        assert json.loads((out / "results.json").read_text())["lines"] == found["lines"]
        assert "| mc_sjd-16 | mc_sjd | lossless | 16 | 12.5 |" in (out / "results.md").read_text()
        assert "pictures of ar of seed 1" in (out / "results.tex").read_text()
        assert Image.open(out / "sheet.png").size == (6 + 6 * (24 + 6), 6 + 2 * (18 + 16 + 6))

    def test_real_pictures_have_no_pairs(self, tmp_path: Path, dinov2: Path) -> None:
        (tmp_path / "photos").mkdir()
        for index in range(5):
            picture = np.random.default_rng(index).integers(0, 255, (*SIZE, 3)).astype(np.uint8)
            Image.fromarray(picture).save(tmp_path / "photos" / f"{index}.png")
        runs = [write_run(tmp_path / "ar"), write_run(tmp_path / "fast", "fast", shade=20)]
        ar, fast = evaluated(tmp_path, dinov2, tmp_path / "photos", *runs)["lines"]
        assert fast["above_ar"] == {"mean": fast["distance"] - ar["distance"], "low": None, "high": None}

    def test_files_that_are_no_pictures_of_the_reference(self, tmp_path: Path) -> None:
        photos = write_run(tmp_path / "real", seed=1) / "pictures"
        shutil.copytree(photos, tmp_path / "photos")
        (tmp_path / "photos" / "._0000-0_barn.png").write_bytes(b"what macOS leaves")
        (tmp_path / "photos" / "notes.txt").write_text("mine")
        base, _, notes = open_sets(tmp_path / "photos", [write_run(tmp_path / "ar")])
        assert len(base.files) == 6
        assert notes == ["photos: beside the pictures, and left out: 1 other file or folder (notes.txt)"]

    def test_names_of_folders(self, tmp_path: Path, dinov2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        ar, odd = write_run(tmp_path / "ar"), write_run(tmp_path / "a|b\n=c", "sjd")
        monkeypatch.chdir(ar)
        found = evaluated(tmp_path, dinov2, write_run(tmp_path / "real", seed=1), Path("."), odd)
        assert [line["run"] for line in found["lines"]] == ["ar", "a|b\n=c"]
        assert "| a\\|b =c | sjd |" in (tmp_path / "out" / "results.md").read_text()

    def test_the_sheet_shows_pictures_of_many_prompts(self, tmp_path: Path) -> None:
        ar = write_run(tmp_path / "ar", count=20)
        _, (run,), _ = open_sets(write_run(tmp_path / "real", seed=1), [ar])
        shown = np.asarray(sheet([run]))[24:40, 6 + 30 : 6 + 30 + 24]  # the second picture
        assert np.array_equal(shown, read_image(ar / "pictures" / "0002-0_barn.png"))

    def test_features_are_kept(self, tmp_path: Path, dinov2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sets = write_run(tmp_path / "real", seed=1), write_run(tmp_path / "ar")
        cache = tmp_path / "cache"
        first = evaluated(tmp_path, dinov2, *sets, cache=cache)
        kept = sorted(cache.iterdir())
        assert len(kept) == 2
        kept[0].write_bytes(b"damaged")
        shutil.copy(sets[0] / "pictures" / "0000-0_barn.png", sets[1] / "pictures" / "0001-0_barn.png")
        other = evaluated(tmp_path, dinov2, *sets, cache=cache)
        assert other["lines"][0]["distance"] != first["lines"][0]["distance"]
        assert other["lines"] == evaluated(tmp_path, dinov2, *sets)["lines"]
        # another network of the same weights
        shutil.copytree(dinov2, tmp_path / "edited")
        config = json.loads((tmp_path / "edited" / "config.json").read_text())
        (tmp_path / "edited" / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 0.5}))
        edited = evaluated(tmp_path, tmp_path / "edited", *sets, cache=cache)
        assert edited["lines"][0]["distance"] != other["lines"][0]["distance"]


class TestPicturesThatAreInTwoSets:
    def test_in_the_reference(self, tmp_path: Path, dinov2: Path) -> None:
        ar = write_run(tmp_path / "ar")
        shutil.copytree(ar / "pictures", tmp_path / "photos")
        found = evaluated(tmp_path, dinov2, tmp_path / "photos", ar)
        assert any("6 of 6 pictures of ar are in photos too" in text for text in found["warnings"])
        assert "6 of 6 pictures of ar are in photos too" in (tmp_path / "out" / "results.tex").read_text()

    def test_exchanged_files(self, tmp_path: Path, dinov2: Path) -> None:
        ar, fast = write_run(tmp_path / "ar"), write_run(tmp_path / "fast", "sjd", shade=20)
        shutil.copy(ar / "pictures" / "0001-0_barn.png", fast / "pictures" / "0001-0_barn.png")
        found = evaluated(tmp_path, dinov2, write_run(tmp_path / "real", seed=1), ar, fast)
        assert any("1 picture of fast look exactly as in ar" in text for text in found["warnings"])

    def test_none_of_them_is(self, tmp_path: Path, dinov2: Path) -> None:
        runs = write_run(tmp_path / "ar"), write_run(tmp_path / "pathwise", "pathwise")
        found = evaluated(tmp_path, dinov2, write_run(tmp_path / "real", seed=1), *runs)
        assert len(found["warnings"]) == 1


class TestWhatIsRefused:
    def test_the_references_own_noise(self, tmp_path: Path) -> None:
        runs = write_run(tmp_path / "real"), write_run(tmp_path / "ar")
        with pytest.raises(InvalidArgument, match="same seed, 0, so the same noise"):
            open_sets(runs[0], runs[1:])

    def test_other_pictures(self, tmp_path: Path) -> None:
        real, ar = write_run(tmp_path / "real", seed=1), write_run(tmp_path / "ar")
        with pytest.raises(BadInput, match="0005-0_barn is in one only"):
            open_sets(real, [ar, write_run(tmp_path / "less", "sjd", count=5)])
        with pytest.raises(BadInput, match="pictures of large are 32x32, and those of ar 24x16"):
            open_sets(real, [ar, write_run(tmp_path / "large", "sjd", size=(32, 32))])
        with pytest.raises(BadInput, match="at least 2 pictures"):
            open_sets(write_run(tmp_path / "one", seed=2, count=1), [ar])
        again = write_run(tmp_path / "more" / "ar", "sjd")
        with pytest.raises(InvalidArgument, match="two folders are called 'ar'"):
            open_sets(real, [ar, again])

    def test_no_run(self, tmp_path: Path) -> None:
        real = write_run(tmp_path / "real", seed=1)
        (tmp_path / "empty").mkdir()
        for folder in (tmp_path / "empty", tmp_path / "none"):
            with pytest.raises(BadInput, match=f"{folder.name}: no run of `vidjacobi image`"):
                open_sets(real, [folder])
            with pytest.raises(BadInput, match=str(folder)):
                open_sets(folder, [real])
        for damaged in (
            "{",
            "[]",
            '{"pictures": []}',
            '{"config": 1, "decoder": 2, "sampling": 3, "pictures": [4]}',
        ):
            (tmp_path / "empty" / "image.json").write_text(damaged)
            with pytest.raises(BadInput, match="empty"):
                open_sets(real, [tmp_path / "empty"])
        record = json.loads((real / "image.json").read_text())
        damage: list[tuple[str, Any]] = [
            ("nfe", 0),
            ("nfe", "x"),
            ("nfe", 1e400),
            ("nfe", True),
            ("index", None),
        ]
        damage += [("seconds", 3), ("seconds", {"decode": float("nan")}), ("seconds", {"decode": -1})]
        damage += [("rows_together", 0), ("new_tokens", 0), ("tokens_sha256", None)]
        damage += [("name", "../../x"), ("name", "a\0b"), ("name", "x" * 5000)]
        for key, value in damage:
            other = {**record, "pictures": [{**record["pictures"][0], key: value}]}
            (tmp_path / "empty" / "image.json").write_text(json.dumps(other))
            with pytest.raises(BadInput, match=r"image\.json is missing or damaged"):
                open_sets(real, [tmp_path / "empty"])
        for path, value in (
            (("decoder", "window"), "w"),
            (("decoder", "guarantee"), None),
            (("decoder", "name"), [1]),
            (("config", "seed"), "1"),
            (("made_with", "weights"), [1]),
            (("made_with", "weights"), {"a": 3}),
            (("pictures",), [record["pictures"][0]] * 2),
        ):
            other = json.loads(json.dumps(record))
            part = other
            for key in path[:-1]:
                part = part[key]
            part[path[-1]] = value
            (tmp_path / "empty" / "image.json").write_text(json.dumps(other))
            with pytest.raises(BadInput, match=r"image\.json is missing or damaged"):
                open_sets(tmp_path / "empty", [real])
        (real / "pictures" / "0003-0_barn.png").unlink()
        with pytest.raises(BadInput, match=r"0003-0_barn\.png is not there"):
            open_sets(real, [real])

    def test_other_settings_are_told(self, tmp_path: Path) -> None:
        real = write_run(tmp_path / "real", seed=1)
        _, _, notes = open_sets(real, [write_run(tmp_path / "sharp", "sjd", top_p=0.5)])
        assert "real was not made as sharp: top_p: 0.5 there, 0.9 here" in notes
        assert any("no run of --decoder ar" in note for note in notes)

    def test_a_run_that_is_not_finished(self, tmp_path: Path) -> None:
        ar = write_run(tmp_path / "ar")
        (ar / "pictures" / "0006-0_barn.json").write_text("{}")
        with pytest.raises(BadInput, match=r"does not list all that is there \(0006-0_barn\)"):
            open_sets(write_run(tmp_path / "real", seed=1), [ar])

    def test_the_pictures_of_a_run_by_their_own_folder(self, tmp_path: Path) -> None:
        ar = write_run(tmp_path / "ar")
        with pytest.raises(InvalidArgument, match="same seed, 0"):
            open_sets(ar / "pictures", [ar])

    def test_what_cannot_be_compared_is_told(self, tmp_path: Path) -> None:
        real, ar = write_run(tmp_path / "real", "pjd", seed=1), write_run(tmp_path / "ar")
        changed(real, lambda record: record["decoder"].update(guarantee="lossy"))
        fast = write_run(tmp_path / "fast", "sjd")
        changed(fast, lambda record: record.update(device="cuda:0"))
        changed(fast, lambda record: record["made_with"].update(dtype="bfloat16"))
        changed(fast, lambda record: [one.update(rows_together=8) for one in record["pictures"]])
        _, _, notes = open_sets(real, [ar, fast])
        assert notes == [
            "real was decoded with pjd, which is lossy: distances are from its pictures, not from AR's",
            "fast was not made as ar: dtype: float32 there, bfloat16 here",
            "latencies of fast and ar do not compare: device: None there, cuda:0 here",
            "latencies of fast and ar do not compare: rows together: 2 there, 8 here",
        ]

    def test_places_that_cannot_be_written_are_found_before_any_work(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        runs = [str(write_run(tmp_path / name, seed=seed)) for name, seed in (("real", 1), ("ar", 0))]
        (tmp_path / "file").write_text("mine")
        out = ["--out", str(tmp_path / "new" / "out")]
        for words in (["--out", str(tmp_path / "file" / "out")], [*out, "--cache", str(tmp_path / "file")]):
            # the weights are not looked at before
            assert main(["eval", "pictures", *runs, *words, "--weights", str(tmp_path / "none.pth")]) == 2
            assert f"{tmp_path / 'file'}: cannot be written to" in capsys.readouterr().err
        assert not (tmp_path / "new").exists()
        assert (tmp_path / "file").read_text() == "mine"

    def test_what_would_go_with_an_earlier_evaluation(self, tmp_path: Path, dinov2: Path) -> None:
        sets, cache = (
            (write_run(tmp_path / "real", seed=1), write_run(tmp_path / "ar")),
            tmp_path / "out" / "kept",
        )
        with pytest.raises(BadOutput, match=r"--cache .* lies in --out"):
            evaluated(tmp_path, dinov2, *sets, cache=cache)
        evaluated(tmp_path, dinov2, *sets)
        evaluated(tmp_path, dinov2, *sets)
        shutil.copytree(sets[1], tmp_path / "out" / "ar")
        with pytest.raises(BadOutput, match=r"holds something else too \(ar\)"):
            evaluated(tmp_path, dinov2, *sets)
        assert (tmp_path / "out" / "ar" / "image.json").is_file()

    def test_weights(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        runs = [str(write_run(tmp_path / name, seed=seed)) for name, seed in (("real", 1), ("ar", 0))]
        words = ["eval", "pictures", *runs, "--out", str(tmp_path / "out")]
        assert main(words) == 2
        assert "FID needs --weights: weights-inception" in capsys.readouterr().err
        assert main([*words, "--network", "inceptoin"]) == 2
        assert "inception" in capsys.readouterr().err
        torch.save({"conv": torch.zeros(1)}, tmp_path / "other.pth")
        for name, said in (("other.pth", "no weights of torch-fidelity's"), ("none.pth", "no such file")):
            pytest.importorskip("torch_fidelity")
            assert main([*words, "--weights", str(tmp_path / name)]) == 2
            assert said in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        "damage", [{"patch_size": 0}, {"patch_size": "x"}, {"architectures": 3}, {"num_hidden_layers": 2}]
    )
    def test_a_folder_whose_numbers_are_wrong(
        self, tmp_path: Path, dinov2: Path, damage: dict[str, Any]
    ) -> None:
        folder = shutil.copytree(dinov2, tmp_path / "dinov2")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | damage))
        with pytest.raises(BadCheckpoint, match=r"cannot be opened as a DINOv2|are missing or do not fit"):
            load_network("dinov2", folder, "cpu")

    def test_a_file_that_is_a_program_is_not_run(self, tmp_path: Path) -> None:
        pytest.importorskip("torch_fidelity")

        class Program:
            def __reduce__(self) -> Any:
                return Path.touch, (tmp_path / "ran",)

        torch.save({"a": Program()}, tmp_path / "program.pth")
        with pytest.raises(BadCheckpoint, match="holds more than tensors, and is not run"):
            load_network("inception", tmp_path / "program.pth", "cpu")
        assert not (tmp_path / "ran").exists()


def test_dinov2_sees_what_its_own_processor_makes(dinov2: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (300, 260, 3)).astype(np.uint8)
    square = Image.fromarray(picture).resize((224, 224), Image.Resampling.BICUBIC)
    processor = transformers.BitImageProcessor(
        do_resize=False,
        do_center_crop=False,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    network = transformers.Dinov2Model.from_pretrained(dinov2)
    with torch.no_grad():
        wanted = network(**processor(square, return_tensors="pt")).last_hidden_state[:, 0]
        found = load_network("dinov2", dinov2, "cpu").network(
            torch.from_numpy(picture).permute(2, 0, 1)[None]
        )
    # pictures are resized as tensors, which rounds some values by 1 of 255 otherwise
    assert (found - wanted).abs().max() < 0.02 * wanted.std()


@pytest.mark.slow
def test_fid_is_torch_fidelitys(tmp_path: Path, inception: Path) -> None:
    from torch_fidelity import calculate_metrics

    real, ar = write_run(tmp_path / "real", seed=1), write_run(tmp_path / "ar", shade=30)
    config = PictureEval(real, (ar,), weights=inception, draws=2, device="cpu")
    (line,) = judge(config, tmp_path / "out", overwrite=False, tell=print)["lines"]
    wanted = calculate_metrics(
        input1=str(ar / "pictures"),
        input2=str(real / "pictures"),
        fid=True,
        cuda=False,
        verbose=False,
        feature_extractor_weights_path=str(inception),
    )["frechet_inception_distance"]
    assert line["distance"] == pytest.approx(wanted, rel=1e-3)
    assert line["distance"] > 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["label"] == "FD-Inception"  # FID is that of one file of weights
    assert any("weights.pth is not weights-inception" in text for text in results["warnings"])


@pytest.mark.slow
def test_true_runs_of_image(tmp_path: Path, dinov2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = {"reference": ("pathwise", 1), "fast": ("mc_sjd", 0)}
    for name, (decoder, seed) in made.items():
        words = ["image", "--label", "kitchen", "--samples", "2", "--decoder", decoder, "--seed", str(seed)]
        assert main([*words, "--quiet", "--out", str(tmp_path / name)]) == 0
    folders = [str(tmp_path / name) for name in made]
    words = ["eval", "pictures", *folders, "--network", "dinov2", "--weights", str(dinov2)]
    assert main([*words, "--draws", "5", "--out", str(tmp_path / "out")]) == 0
    (line,) = json.loads(capsys.readouterr().out.splitlines()[-1])["lines"]
    assert 40 < line["nfe"] < 160
    assert line["distance"] > 0
