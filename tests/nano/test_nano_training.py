"""What the nano training scripts compute apart from the training itself."""

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

import vidjacobi
from cosmos_adapter.tokenizer.network import TokenizerNet
from scripts.nano.render import make_data, plain_room, scenes
from scripts.nano.train import encode_clips, tokenizer_losses, train_transformer, training_clips
from scripts.nano.train.model_sizes import MODELS, TOKENIZERS
from scripts.nano.train.tokenizer_start import initialise
from scripts.nano.train.training_run import Budget, TrainingRun, launch, trained_state
from vidjacobi.errors import BadInput
from vidjacobi.models.codec import fit


def test_features_of_neighbouring_codes_are_similar() -> None:
    features = torch.nn.functional.normalize(train_transformer.digit_features((8, 8, 8, 8)), dim=1)
    middle = 3 + 8 * 4 + 64 * 3 + 512 * 4
    assert features.shape[0] == 4096
    assert len(features.unique(dim=0)) == 4096
    similarity = features @ features[middle]
    assert (similarity[[middle + 1, middle + 8, middle - 64, middle + 512]] > similarity.quantile(0.99)).all()


def test_features_of_uneven_codes_are_finite_and_tell_them_apart() -> None:
    features = train_transformer.digit_features((24, 7, 4, 3, 2))
    assert features.isfinite().all()
    assert len(features.unique(dim=0)) == 24 * 7 * 4 * 3 * 2


def test_unigram_entropy() -> None:
    assert train_transformer.unigram_entropy(torch.arange(4096).view(4, -1)) == pytest.approx(math.log(4096))
    assert train_transformer.unigram_entropy(torch.zeros(2, 8, dtype=torch.long)) == pytest.approx(0.0)


def test_learning_rate_rises_stays_and_falls_with_the_larger_share_used() -> None:
    budget = Budget(steps=100, minutes=10.0)
    rates = []
    for budget.step in range(101):
        rates.append(budget.learning_rate(1.0, warmup=10))
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:75] == [1.0] * 66
    assert rates[75:] == sorted(rates[75:], reverse=True)
    assert rates[-1] == pytest.approx(0.01)
    budget.step, budget.seconds = 10, 540.0
    assert budget.progress == pytest.approx(0.9)
    assert budget.learning_rate(1.0, warmup=10) < 0.8


@dataclass(frozen=True)
class OneWeight:
    """The sizes of a network of one weight."""

    def to_config(self) -> dict[str, int]:
        return {"weights": 1}


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """One worker."""
    torch.distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def start_run(folder: Path, steps: int) -> TrainingRun:
    net = torch.nn.Linear(1, 1, bias=False)
    net.weight.data.fill_(0.0)
    net.spec = OneWeight()
    beside = {"critic": torch.nn.Linear(1, 1, bias=False)}
    return TrainingRun(folder, net, torch.optim.SGD(net.parameters()), Budget(steps, 1e9), beside)


@pytest.mark.usefixtures("alone")
def test_a_run_goes_on_where_it_was_saved_and_can_be_lengthened(tmp_path: Path) -> None:
    run = start_run(tmp_path, 40)
    for _ in range(20):
        run.step(-run.model.weight.sum(), rate=0.1)
    run.save()
    run.step(-run.model.weight.sum(), rate=0.1)  # lost
    again = start_run(tmp_path, 80)
    assert again.budget.step == 20
    assert again.budget.progress == 0.25
    assert again.model.weight.item() == pytest.approx(2.0)
    assert 0 < again.average.weight.item() < 2.0
    assert torch.equal(again.beside["critic"].weight, run.beside["critic"].weight)
    config, state = trained_state(tmp_path / "last.pt")
    assert config == {"weights": 1}
    assert torch.equal(state["weight"], again.average.weight)


@pytest.mark.usefixtures("alone")
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    run = start_run(tmp_path, 10)
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        run.step(run.model.weight.sum() * float("nan"), rate=0.1)
    run = start_run(tmp_path, 10)
    run.step(run.model.weight.sum(), rate=0.1)
    run.step(run.model.weight.sum() * float("inf"), rate=0.1)  # not looked at yet
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        run.save()
    with pytest.raises(BadInput, match="train first"):
        trained_state(tmp_path / "last.pt")


def test_several_workers_on_a_gpu_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, workers, message in ((False, None, "no GPU is visible"), (True, 2, "a GPU has one worker")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        with pytest.raises(BadInput, match=message):
            launch(print, argparse.Namespace(device="cuda", workers=workers))


def test_the_tokenizer_loss_sees_blur_where_the_mean_error_does_not() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(1, 3, 3, 32, 32, generator=generator) - 0.5
    blurred = target.mean((3, 4), keepdim=True).expand_as(target)
    shifted = target + (target - blurred).abs().mean()
    assert (blurred - target).abs().mean() == pytest.approx(float((shifted - target).abs().mean()))
    assert tokenizer_losses.edge_error(shifted - target) < 1e-6
    assert tokenizer_losses.edge_error(blurred - target) > 0.1
    weights = tokenizer_losses.LossWeights(square=0, edge=0, contrast=1)
    flat, same = (tokenizer_losses.reconstruction_loss(x, target, weights) for x in (blurred, shifted))
    assert same == pytest.approx(float((shifted - target).abs().mean()), rel=1e-4)
    assert flat > same + 0.1


def test_a_critic_learns_what_is_true_and_its_opinion_leads_there() -> None:
    torch.manual_seed(0)
    critic = tokenizer_losses.Critic()
    true, shown = (
        [
            torch.nn.functional.normalize(torch.randn(4, n, 4, 4) + middle, dim=1)
            for n in tokenizer_losses.WIDTHS
        ]
        for middle in (0.5, -0.5)
    )
    optimizer = torch.optim.Adam(critic.parameters(), 1e-2)
    first = tokenizer_losses.critic_loss(critic, true, shown).item()
    for _ in range(60):
        optimizer.zero_grad()
        tokenizer_losses.critic_loss(critic, true, shown).backward()
        optimizer.step()
    assert tokenizer_losses.critic_loss(critic, true, shown) < 0.5 * first
    shown = [features.requires_grad_(True) for features in shown]
    tokenizer_losses.generator_loss(critic, shown).backward()
    for features, wanted in zip(shown, true, strict=True):
        assert (-features.grad * (wanted - features.detach())).sum() > 0


def test_the_untrained_tokenizer_already_passes_colours() -> None:
    clips = [plain_room.render_plain_room(seed, 9, (64, 80)).frames for seed in range(10)]
    pixels = torch.stack(clips).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    torch.manual_seed(0)
    net = TokenizerNet(TOKENIZERS["nano"])
    initialise(net, pixels[:7])
    with torch.no_grad():
        video, _ = net(pixels[7:])
    error = (video - pixels[7:]).square().mean() / 4
    spread = (pixels[7:] - pixels[7:].mean((2, 3, 4), keepdim=True)).square().mean() / 4
    assert error < 0.5 * spread


def rendered(folder: Path, kinds: dict[str, float]) -> None:
    """A data folder of four small clips with numbers as pixels."""
    folder.mkdir(parents=True)
    (folder / "kinds.json").write_text(json.dumps({"mixture": kinds, "softness": 1.0}))
    np.save(folder / "00000000.npy", np.arange(4 * 9 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 9, 8, 8, 3))


def test_clips_know_their_kind_and_only_some_run_backwards(tmp_path: Path) -> None:
    rendered(tmp_path / "train", {"house": 0.5, "tabletop": 0.5})
    found = training_clips.load_split(tmp_path, "train")
    draw = scenes.draw_kind
    assert [clip.kind for clip in found] == [draw(s, {"house": 0.5, "tabletop": 0.5}) for s in range(4)]
    assert {clip.kind for clip in found} == {"house", "tabletop"}
    shown = [torch.tensor(clip.seed) for clip in found]
    houses = {clip.seed for clip in found if clip.kind == "house"}
    assert {int(seed) for seed in encode_clips.clips_with("both", found, shown)} == houses
    assert len(encode_clips.clips_with("mirrored", found, shown)) == 4
    with pytest.raises(BadInput, match="make-data"):
        training_clips.load_split(tmp_path, "heldout")


def test_pieces_of_table_tops_never_run_backwards(tmp_path: Path) -> None:
    rendered(tmp_path / "train", {"tabletop": 1.0})
    found = training_clips.load_split(tmp_path, "train")
    ramp = (torch.arange(9, dtype=torch.uint8)[:, None, None, None] * 20).expand(9, 8, 8, 3)
    found = [training_clips.StoredClip(clip.seed, clip.kind, ramp) for clip in found]
    batch = training_clips.draw_batch(
        found, training_clips.Crops(16, 5, 4, 6), torch.Generator().manual_seed(0)
    )
    assert batch.shape == (16, 3, 5, 4, 6)
    assert (batch.diff(dim=2) >= 0).all()
    backwards = [training_clips.StoredClip(clip.seed, "house", ramp) for clip in found]
    batch = training_clips.draw_batch(
        backwards, training_clips.Crops(16, 5, 4, 6), torch.Generator().manual_seed(0)
    )
    falling = (batch.diff(dim=2) <= 0).all((1, 2, 3, 4))
    assert 0 < falling.sum() < 16


def test_tokens_of_two_tokenizers_are_not_mixed(tmp_path: Path) -> None:
    for name, value in (("a", 0.0), ("b", 1.0)):
        torch.save({"spec": {}, "average": {"w": torch.tensor([value])}}, tmp_path / name)
    encode_clips.claim_token_folder(tmp_path / "t", tmp_path / "a")
    encode_clips.claim_token_folder(tmp_path / "t", tmp_path / "a")
    with pytest.raises(BadInput, match="trained further"):
        encode_clips.claim_token_folder(tmp_path / "t", tmp_path / "b")


@pytest.mark.parametrize("name", ["nano", "micro"])
def test_the_shipped_transformer_is_the_one_the_scripts_build(name: str) -> None:
    text = (resources.files("vidjacobi.assets") / name / "transformer" / "config.json").read_text("utf-8")
    assert json.loads(text) == MODELS[name].to_config()


@pytest.mark.parametrize("name", ["nano", "micro"])
def test_the_shipped_contexts_are_the_held_out_clips(name: str) -> None:
    """Rendering, scaling and encoding again give the shipped tokens, but for ties of rounding."""
    seed, mixture = make_data.FIRST_SEED["heldout"], make_data.split_mixture("heldout", list(scenes.KINDS))
    _, tokenizer = vidjacobi.load(name, device="cpu", dtype="float32")
    clip = scenes.render_clip(seed, 9, kind=scenes.draw_kind(seed, mixture)).frames
    found = encode_clips.encode(tokenizer.codec.net, fit(clip, tokenizer.frame_size)[None], [])
    contexts = np.load(resources.files("vidjacobi.assets") / name / "held_out_contexts.npy")
    assert len(contexts) == 128
    assert (found[0] == contexts[0].flatten()).mean() > 0.99


def test_a_transformers_optimiser_goes_on_as_if_never_stopped() -> None:
    def make() -> tuple[torch.nn.ParameterList, object]:
        torch.manual_seed(0)
        parameters = torch.nn.ParameterList([torch.nn.Parameter(torch.randn(4, 3)) for _ in range(2)])
        parts = torch.optim.Muon([parameters[0]]), torch.optim.AdamW([parameters[1]])
        return parameters, train_transformer.CombinedOptimizer(*parts)

    def step(parameters: torch.nn.ParameterList, optimiser: object, rate: float) -> None:
        optimiser.zero_grad()
        sum(p.square().sum() for p in parameters).backward()
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()

    whole, stopped = make(), make()
    for pair in (whole, stopped):
        step(*pair, 0.1)
    resumed = make()
    resumed[0].load_state_dict(stopped[0].state_dict())
    resumed[1].load_state_dict(stopped[1].state_dict())
    for pair in (whole, resumed):
        step(*pair, 0.2)
    for one, other in zip(whole[0], resumed[0], strict=True):
        assert torch.equal(one, other)
