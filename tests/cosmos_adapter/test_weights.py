"""Folders of weights: which files are taken, how the sizes are found, and a message for everything that is wrong."""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_cosmos import TINY, TINY_SPECS, TINY_TEXT, golden_case, tiny_network

from cosmos_adapter.checkpoint import load_strict, read_state_dict
from cosmos_adapter.tokenizer.weights import read_spec
from cosmos_adapter.transformer.network import CosmosTransformer
from cosmos_adapter.transformer.spec import PRESETS, ModelSpec
from cosmos_adapter.transformer.weights import find_spec, load_model, overlay, preset_name, tensor_sizes
from vidjacobi.errors import BadCheckpoint, InvalidArgument


def state_of(spec: ModelSpec = TINY) -> dict[str, torch.Tensor]:
    return tiny_network(spec).state_dict()


def write(folder: Path, state: dict[str, Any], spec: ModelSpec | None = TINY, **config: Any) -> Path:
    """A folder in the official layout: model.pt with prefixed names and, if ``spec`` is given, a config.json."""
    folder.mkdir(exist_ok=True)
    torch.save({f"model.{name}": tensor for name, tensor in state.items()}, folder / "model.pt")
    if spec is not None:
        (folder / "config.json").write_text(json.dumps({**spec.to_config(), **config}))
    return folder


def same(network: CosmosTransformer, state: dict[str, torch.Tensor]) -> bool:
    found = network.state_dict()
    return found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)


@pytest.mark.parametrize("name", TINY_SPECS)
def test_official_folder(tmp_path: Path, name: str) -> None:
    state = state_of(TINY_SPECS[name])
    model = load_model(write(tmp_path, state, TINY_SPECS[name]))
    assert model.spec == TINY_SPECS[name]
    assert same(model.network, state)
    assert not any(p.requires_grad for p in model.network.parameters())


def test_begin_of_video_is_read_off_the_embedding(tmp_path: Path) -> None:
    """The official config does not say that there is such a token; only the larger embedding does."""
    config = TINY_TEXT.to_config()
    del config["begin_of_video"]
    write(tmp_path, state_of(TINY_TEXT), None)
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert load_model(tmp_path).spec == TINY_TEXT


def test_sub_dict_extra_state_missing_prefix_and_unknown_keys(tmp_path: Path) -> None:
    state = state_of()
    extra = {"layers.0.attention._extra_state": torch.zeros(3, dtype=torch.uint8)}
    torch.save({"model": {**state, **extra}, "step": 7}, tmp_path / "model.pt")
    (tmp_path / "config.json").write_text(json.dumps({**TINY.to_config(), "ckpt_dir": None, "surprise": [1]}))
    assert same(load_model(tmp_path).network, state)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_any_single_file_and_a_path_to_it(tmp_path: Path, suffix: str) -> None:
    state, file = state_of(), tmp_path / f"mine.{suffix}"
    save_file(state, file) if suffix == "safetensors" else torch.save(state, file)
    (tmp_path / "config.json").write_text(json.dumps(TINY.to_config()))
    assert same(load_model(tmp_path).network, state)
    assert same(load_model(file).network, state)


def test_shards_with_an_index(tmp_path: Path) -> None:
    state = state_of()
    names = sorted(state)
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({f"model.{name}": state[name] for name in part}, tmp_path / file)
    index = {"weight_map": {f"model.{name}": file for file, part in halves.items() for name in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "config.json").write_text(json.dumps(TINY.to_config()))
    assert same(load_model(tmp_path).network, state)
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(BadCheckpoint, match=r"not beside it: b\.safetensors"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "name", ["../b.safetensors", "OUTSIDE", "sub/b.safetensors", "x" * 5000, "a\0b", "..", "", 7, None, [1]]
)
def test_an_index_names_files_beside_it_only(tmp_path: Path, name: object) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    for place in (tmp_path, folder / "sub"):
        save_file({f"model.{key}": tensor for key, tensor in state_of().items()}, place / "b.safetensors")
    named = str(tmp_path / "b.safetensors") if name == "OUTSIDE" else name
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": named}}))
    (folder / "config.json").write_text(json.dumps(TINY.to_config()))
    with pytest.raises(BadCheckpoint, match="names files that are not beside it"):
        load_model(folder)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_config_may_begin_with_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    state = state_of()
    folder = write(tmp_path, state)
    config = folder / "config.json"
    config.write_text(config.read_text(), encoding=encoding)
    assert same(load_model(folder).network, state)


def test_json_that_is_nested_too_deep(tmp_path: Path) -> None:
    folder = write(tmp_path, state_of())
    (folder / "config.json").write_text("[" * 100_000)
    with pytest.raises(BadCheckpoint, match="nested too deep"):
        load_model(folder)
    with pytest.raises(BadCheckpoint, match="nested too deep"):
        read_spec(folder)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, None])
def test_dtype(tmp_path: Path, dtype: torch.dtype | None) -> None:
    model = load_model(write(tmp_path, {k: v.half() for k, v in state_of().items()}), dtype=dtype)
    assert {p.dtype for p in model.network.parameters()} == {dtype or torch.float16}
    assert model.dtype == (dtype or torch.float16)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_told_by_shapes_and_by_name(name: str) -> None:
    with torch.device("meta"):
        state = CosmosTransformer(PRESETS[name].spec).state_dict()
    sizes = tensor_sizes(state)
    assert preset_name(sizes, "snapshots") == name
    assert preset_name({**sizes, "dim": 7}, PRESETS[name].repositories[0].split("/")[1]) == name
    assert preset_name({**sizes, "dim": 7}, "snapshots") is None
    assert find_spec(state, Path("nowhere")) == PRESETS[name].spec


def test_recommended_top_p() -> None:
    assert {name: preset.top_p for name, preset in PRESETS.items()} == {
        "4B": 0.8,
        "5B": 0.7,
        "12B": 0.9,
        "13B": 0.8,
    }


def broken(tmp_path: Path, change: Any) -> Path:
    state = state_of()
    change(state)
    return write(tmp_path / "broken", state)


def test_missing_unexpected_and_misshapen_tensors(tmp_path: Path) -> None:
    name = "layers.1.feed_forward.w2.weight"
    with pytest.raises(BadCheckpoint, match=rf"missing \(1\): {name}$"):
        load_model(broken(tmp_path, lambda state: state.pop(name)))
    with pytest.raises(BadCheckpoint, match=r"unexpected \(1\): layers\.1\.bias$"):
        load_model(broken(tmp_path, lambda state: state.update({"layers.1.bias": torch.ones(2)})))
    with pytest.raises(BadCheckpoint, match=rf"wrong shape \(1\): {name} \[3, 4\], expected \[48, 80\]$"):
        load_model(broken(tmp_path, lambda state: state.update({name: torch.ones(3, 4)})))


def test_long_lists_are_cut(tmp_path: Path) -> None:
    module = torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in range(6))
    with pytest.raises(BadCheckpoint, match=r"from here .*missing \(12\): 0\.weight, .*, and 4 more"):
        load_strict(module, {}, "from here")


def test_config_against_tensors(tmp_path: Path) -> None:
    write(tmp_path, state_of(), replace(TINY, dim=64, n_layers=3, n_heads=8, head_dim=12))
    with pytest.raises(
        BadCheckpoint, match=r"config\.json does not fit .*dim is 64 but the tensors say 48; n_l"
    ):
        load_model(tmp_path)


def test_no_config_and_no_preset(tmp_path: Path) -> None:
    write(tmp_path, state_of(), None)
    with pytest.raises(BadCheckpoint, match=r"no released model .*put its config\.json there"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rope_dim": "1D"}, "rope_dim='1D' is not supported"),
        ({"use_qk_normalization": False}, "use_qk_normalization=False is not supported"),
        ({"dim": "48"}, "dim='48' is not possible"),
        ({"n_heads": None}, "n_heads=None is not possible"),
        ({"video_latent_shape": [3, 4]}, "video_latent_shape=.* is not possible"),
        ({"n_kv_heads": 3}, "n_heads=4 is not a multiple of n_kv_heads=3"),
        ({"apply_yarn": True}, "YaRN needs yarn_scale"),
    ],
)
def test_impossible_configs(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadCheckpoint, match=message):
        load_model(write(tmp_path, state_of(), TINY, **change))


def test_config_that_is_not_json(tmp_path: Path) -> None:
    write(tmp_path, state_of(), None)
    for text, message in (("{", "is not JSON"), ("[1]", "holds a list")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(BadCheckpoint, match=message):
            load_model(tmp_path)


@pytest.mark.parametrize("name", TINY_SPECS)
def test_optional_keys_of_the_official_config_may_be_null(tmp_path: Path, name: str) -> None:
    """As the official config type allows: no padding, no word about the clips, and as many heads of keys."""
    spec = replace(TINY_SPECS[name], n_kv_heads=4)
    optional = ("context_dim", "num_video_frames", "video_latent_shape")
    optional += ("yarn_scale", "yarn_beta_fast", "yarn_beta_slow", "original_latent_shape", "head_dim")
    said = {key: None for key in optional if name != "yarn" or key in optional[:1]}
    said |= {"pad_to_multiple_of": None, "n_kv_heads": None, "original_seq_len": None, "rope_dim": None}
    # what the config does not say is said by the tensors or by the released model, whose grid would be too large
    said |= {
        "video_latent_shape": list(spec.video_latent_shape),
        "vision_encoder": None,
        "context_dim": spec.context_dim,
    }
    said |= {} if spec.apply_yarn else {"apply_yarn": None}
    model = load_model(write(tmp_path, state_of(spec), spec, **said))
    assert model.spec == replace(spec, pad_to_multiple_of=None, num_video_frames=model.spec.num_video_frames)
    assert model.spec.table_rows == spec.positions
    tokens = torch.zeros(1, spec.positions, dtype=torch.long)
    if not spec.insert_cross_attn:
        cache = model.make_cache(1, spec.positions)
        (logits,) = model.prefill(tokens, cache, 1)
        assert logits.isfinite().all()


def test_a_config_that_says_nothing_of_the_clips_is_the_released_one() -> None:
    base = PRESETS["5B"].spec
    said = dict.fromkeys(("context_dim", "num_video_frames", "video_latent_shape", "pad_to_multiple_of"))
    assert overlay(base, said, "here") == replace(base, pad_to_multiple_of=None)
    with pytest.raises(BadCheckpoint, match="dim=None is not possible"):
        overlay(base, {"dim": None}, "here")


def test_tensor_parallel_shards_are_refused(tmp_path: Path) -> None:
    for rank in range(2):
        torch.save(state_of(), tmp_path / f"model_model_mp_{rank}.pt")
    for path in (tmp_path, tmp_path / "model_model_mp_0.pt"):
        with pytest.raises(BadCheckpoint, match=r"tensor-parallel shard .* use the unsharded model.pt"):
            load_model(path)


def test_nothing_or_too_much_to_load(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"put model\.pt or model\.safetensors there"):
        load_model(tmp_path)
    with pytest.raises(BadCheckpoint, match="no checkpoint"):
        load_model(tmp_path / "absent")
    for name in ("a.pt", "b.pt"):
        torch.save(state_of(), tmp_path / name)
    with pytest.raises(BadCheckpoint, match=r"several weight files .*a\.pt, b\.pt"):
        load_model(tmp_path)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
def test_truncated_files(tmp_path: Path, suffix: str, kept: float) -> None:
    file = tmp_path / f"model.{suffix}"
    save_file(state_of(), file) if suffix == "safetensors" else torch.save(state_of(), file)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(BadCheckpoint, match=r"model\..* (truncated|empty).*fetch it again"):
        read_state_dict(file)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.pt", b"version https://git-lfs.github.com/spec/v1\noid", "git-lfs pointer"),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid", "git-lfs pointer"),
        ("model.pt", b"hello, these are not weights", "not a torch.save file|was refused"),
        ("model.pt", b"import os\n", "not a torch.save file|was refused"),
        ("model.pt", b"0", "not a torch.save file|was refused"),
        ("model.pt", b"\x80\x02]q\x00.X", "not a torch.save file|was refused|truncated"),
        ("model.safetensors", b"hello, these are not weights", "not a safetensors file"),
    ],
)
def test_foreign_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadCheckpoint, match=message):
        read_state_dict(tmp_path / name)


@pytest.mark.parametrize("content", [{}, {"a": 1}, [torch.ones(1)], {"w": torch.ones(1), "epoch": 3}])
def test_files_that_are_no_state_dict(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(BadCheckpoint, match=r"not a (state dict|dict of tensors)"):
        read_state_dict(tmp_path / "model.pt")


def test_doubled_names_and_integer_weights(tmp_path: Path) -> None:
    torch.save({"norm.weight": torch.ones(1), "model.norm.weight": torch.ones(1)}, tmp_path / "model.pt")
    with pytest.raises(BadCheckpoint, match=r"norm\.weight twice"):
        load_model(tmp_path)
    torch.save({"norm.weight": torch.ones(1, dtype=torch.int8)}, tmp_path / "model.pt")
    with pytest.raises(BadCheckpoint, match=r"torch\.int8, not floating-point"):
        load_model(tmp_path)


class Touch:
    """An object whose unpickling runs a shell command."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> Any:
        import os

        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("form", ["zip", "legacy", "bare"])
def test_a_malicious_pickle_does_not_run(tmp_path: Path, form: str) -> None:
    target, file = tmp_path / "was_here", tmp_path / "model.pt"
    content = {"model.norm.weight": torch.ones(2), "payload": Touch(target)}
    if form == "bare":
        file.write_bytes(pickle.dumps(Touch(target)))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(BadCheckpoint, match="code inside checkpoints is never run"):
        load_model(tmp_path)
    assert not target.exists()
    pickle.loads(pickle.dumps(Touch(target)))  # the payload would work if it were unpickled
    assert target.exists()


def test_golden_folders_load() -> None:
    for name, prefix in (("ar_base", 0), ("ar_yarn", 0), ("ar_video2world", 1)):
        case = golden_case(name)
        model = load_model(case["path"])
        assert sum(p.numel() for p in model.network.parameters()) == case["meta"]["params"]
        assert model.spec.table_rows == case["config"]["max_seq_len"]
        assert len(model.prefix_tokens) == prefix


def test_sizes_that_cannot_be_built() -> None:
    for change in ({"dim": 0}, {"n_heads": 5}, {"head_dim": 7}, {"video_latent_shape": (0, 1, 1)}):
        with pytest.raises(InvalidArgument):
            replace(TINY, **change)
