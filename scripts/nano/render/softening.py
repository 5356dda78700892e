"""Softer pictures of the rendered kinds: paler surfaces, less contrast, a slightly blurred lens.

A token of nano stands for 8x8x8 pixels. With full contrast the means of such blocks, all that so few bits can nearly
tell, are at 19.3 dB from house and table-top clips, and no tokenizer makes that look good; at softness 1 they
are at 24.8 and 24.2 dB, like those of real driving clips (24.7).
"""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from scripts.nano.render.rasteriser import Scene
from scripts.nano.render.textured_quads import Texture, Textures
from vidjacobi.errors import InvalidArgument
from vidjacobi.shapes import Frames

# What is taken away at softness 1.
REPEATING = 0.6  # of the texture of floors, walls, cloth ... (as a power)
STRETCHED = 0.4  # of that of doors, books, paintings ...
CONTRAST = 0.2  # of the distance of every pixel from mid grey; and the whole S-curve of the film
BLUR = 1.0  # standard deviation of the lens, in 1/160 of the picture's width
FLOOR = 1e-3  # linear light added before the logarithm


def check_softness(softness: float) -> float:
    """``softness`` itself. Raises InvalidArgument unless it lies in [0, 1]."""
    if not 0 <= softness <= 1:
        raise InvalidArgument(f"softness must lie between 0 and 1, got {softness}")
    return softness


def soften_scene(scene: Scene, softness: float) -> Scene:
    """The scene with paler textures and less of the film's contrast; shapes, light and exposure stay."""
    if softness == 0:
        return scene
    textures = Textures([soften_texture(texture, softness) for texture in scene.textures.entries])
    return replace(scene, textures=textures, contrast=scene.contrast * (1 - softness))


def soften_texture(texture: Texture, softness: float) -> Texture:
    """A texture whose texels lie nearer to their mean, which stays."""
    # a power below 1 of the ratio to the geometric mean: log contrast shrinks, dark and bright texels alike
    power = 1 - softness * (STRETCHED if texture.density is None else REPEATING)
    middle = np.exp(np.log(texture.picture + FLOOR).mean((0, 1)))
    paler = middle * ((texture.picture + FLOOR) / middle) ** power
    paler *= texture.picture.mean() / max(float(paler.mean()), FLOOR)
    return replace(texture, picture=np.clip(paler, 0, 1).astype(np.float32))


def soften_frames(frames: Frames, softness: float) -> Frames:
    """Frames through a softer lens: a Gaussian blur, then nearer to mid grey."""
    if softness == 0:
        return frames
    deviation = softness * BLUR * frames.shape[2] / 160
    reach = max(1, round(3 * deviation))
    bell = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / deviation) ** 2)
    bell /= bell.sum()
    # A Gaussian is separable: across, then down. Colours of all frames are channels of one picture: several times as
    # fast as a batch of grey ones.
    x = frames.permute(0, 3, 1, 2).flatten(0, 1)[None].float()
    count, bells = x.shape[1], bell.repeat(x.shape[1], 1)
    x = F.conv2d(F.pad(x, (reach, reach, 0, 0), "replicate"), bells[:, None, None, :], groups=count)
    x = F.conv2d(F.pad(x, (0, 0, reach, reach), "replicate"), bells[:, None, :, None], groups=count)
    x = 127.5 + (1 - softness * CONTRAST) * (x - 127.5)
    return x.round().to(torch.uint8).view(len(frames), 3, *frames.shape[1:3]).permute(0, 2, 3, 1).contiguous()
