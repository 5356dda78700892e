"""Judge a tokenizer: PSNR and SSIM of held-out and real clips, FVD against frozen frames, contact sheets.

    python scripts/nano make-data --train 0                      # the held-out clips, half a minute
    python scripts/nano judge-tokenizer --clips 128              # the one that ships with nano
    python scripts/nano judge-tokenizer --tokenizer runs/nano/sharp/last.pt --real FOLDER_OF_VIDEOS --fvd 0

Everything is measured on frames as they are shown: 128x160, uint8, weights rounded to bfloat16 as they ship. FVD
(--fvd: of so many held-out clips, all kinds, frames 9 to 32; 0: none) compares the reconstruction and the last
context frame held still with the true frames, and says with a paired 95 % interval which is nearer. Below 400 clips
its values are biased upwards: compare the two, not one with published ones. Writes ``judged.json`` and sheets into
``--out``.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from cosmos_adapter.tokenizer.model import NetCodec
from cosmos_adapter.tokenizer.network import TokenizerNet
from cosmos_adapter.tokenizer.weights import load_tokenizer
from scripts.nano.judge.clip_statistics import read_start
from scripts.nano.render.preview import write_sheet
from scripts.nano.train.encode_clips import load_tokenizer_net
from scripts.nano.train.training_clips import StoredClips, load_split
from vidjacobi.errors import BadInput
from vidjacobi.models.codec import as_seen, fit, to_uint8
from vidjacobi.shapes import Frames

SIZE = (128, 160)
CONTEXT = 9  # frames
SHOWN = 8  # clips of a sheet


@torch.inference_mode()
def reconstruct(net: TokenizerNet, frames: Frames) -> Frames:
    """Frames through the tokenizer and back, cut to a number that it takes."""
    whole = frames[: (len(frames) - 1) // net.spec.temporal_compression * net.spec.temporal_compression + 1]
    video, _ = net(fit(whole, SIZE)[None])
    return to_uint8((video[0] + 1) / 2)


def quality(shown: Frames, truth: Frames) -> tuple[float, float]:
    """PSNR in dB over the whole clip, and the mean SSIM of its frames."""
    one, other = (x.permute(0, 3, 1, 2).float() for x in (shown, truth[: len(shown)]))
    psnr = peak_signal_noise_ratio(one, other, data_range=255.0)
    return float(psnr), float(structural_similarity_index_measure(one, other, data_range=255.0))


def judge_clips(net: TokenizerNet, clips: dict[str, list[Frames]], folder: Path) -> dict[str, Any]:
    """PSNR and SSIM of every group of clips, and a sheet of each: true frames above reconstructed ones."""
    found = {}
    for group, truths in clips.items():
        rows, values = [], []
        for i, truth in enumerate(truths):
            shown = reconstruct(net, truth)
            values.append(quality(shown, truth))
            if i < SHOWN:
                chosen = range(0, len(shown), max(1, len(shown) // 4))
                rows += [truth[list(chosen)], shown[list(chosen)]]
        psnr, ssim = torch.tensor(values).mean(0).tolist()
        found[group] = {"clips": len(truths), "psnr": round(psnr, 2), "ssim": round(ssim, 4)}
        print(f"{group:16}{len(truths):5} clips  PSNR {psnr:6.2f} dB  SSIM {ssim:.4f}", flush=True)
        write_sheet(rows, str(folder / f"{group}.png"))
    return found


def heldout_groups(clips: StoredClips, limit: int) -> dict[str, list[Frames]]:
    """At most so many held-out clips of each kind."""
    groups: dict[str, list[Frames]] = defaultdict(list)
    for clip in clips:
        if len(groups[clip.kind]) < limit:
            groups[clip.kind].append(clip.frames)
    return dict(groups)


def real_groups(folders: list[Path]) -> dict[str, list[Frames]]:
    """The first 33 frames of all videos in each folder. Raises BadInput for a folder without videos."""
    groups = {}
    for folder in folders:
        videos = sorted(folder.rglob("*.mp4"))
        if not videos:
            raise BadInput(f"no .mp4 in {folder}")
        groups[f"real_{folder.name}"] = [as_seen(fit(read_start(video, 33), SIZE)) for video in videos]
    return groups


def judge_fvd(net: TokenizerNet, clips: list[Frames]) -> dict[str, Any]:
    """FVD of the reconstruction and of the frozen last context frame, and the interval of their difference."""
    from vidjacobi.eval.features import load_extractor
    from vidjacobi.eval.fvd import distance, floor, paired_difference

    extract = load_extractor()
    features_of: dict[str, list[torch.Tensor]] = defaultdict(list)
    for truth in clips:
        frozen = truth[CONTEXT - 1 : CONTEXT].expand(len(truth) - CONTEXT, -1, -1, -1)
        shown = {"real": truth[CONTEXT:], "frozen": frozen, "tokenizer": reconstruct(net, truth)[CONTEXT:]}
        for name, frames in shown.items():
            features_of[name].append(extract(frames[None].contiguous())[0])
    features = {name: torch.stack(rows) for name, rows in features_of.items()}
    real = features["real"]
    found: dict[str, Any] = {name: distance(features[name], real).value for name in ("tokenizer", "frozen")}
    found["clips"], found["floor_of_halves"] = len(clips), floor(real).mean
    found["tokenizer_minus_frozen"] = list(paired_difference(features["tokenizer"], features["frozen"], real))
    return found


def network_at(path: Path) -> TokenizerNet:
    """The network of a folder as it ships, or of a training's ``last.pt``."""
    if path.suffix == ".pt":
        return load_tokenizer_net(path)
    codec = load_tokenizer(path, torch.device("cpu"), torch.float32).codec
    assert isinstance(codec, NetCodec)
    return codec.net


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--tokenizer", type=Path, default=Path("vidjacobi/assets/nano/tokenizer"))
    options.add_argument("--data", type=Path, default=Path("runs/nano/data"))
    options.add_argument("--clips", type=int, default=32, help="held-out clips of each kind at most")
    options.add_argument("--real", type=Path, nargs="*", default=[], help="folders of real videos")
    options.add_argument("--fvd", type=int, default=64, help="held-out clips for FVD, 0 for none")
    options.add_argument("--out", type=Path, default=Path("runs/judged"))
    return options


def run(arguments: argparse.Namespace) -> None:
    """Judge one tokenizer."""
    torch.set_num_threads(1)
    net, folder = network_at(arguments.tokenizer), arguments.out
    folder.mkdir(parents=True, exist_ok=True)
    heldout = load_split(arguments.data, "heldout")
    groups = {**heldout_groups(heldout, arguments.clips), **real_groups(arguments.real)}
    found = judge_clips(net, groups, folder)
    if arguments.fvd:
        found["fvd"] = judge_fvd(net, [clip.frames for clip in heldout[: arguments.fvd]])
        print(json.dumps(found["fvd"]), flush=True)
    (folder / "judged.json").write_text(json.dumps(found, indent=2) + "\n")
