"""A video file as packets and as decompressed frames, in the order in which its decoder hands them out."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vidjacobi.errors import BadInput
from vidjacobi.video.bitstream import MAY_REFRESH
from vidjacobi.video.whitelist import limit_decoder, open_container

# Their decoders hold back what lacks its references at the beginning of a file; others show grey or a wrong picture.
_HOLD_BACK = MAY_REFRESH
_HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics by their numbers in ITU-T H.273


class DecodeFailed(Exception):
    """A packet could not be decoded. Users never see this error: one thread tries again from the beginning."""


@contextmanager
def open_stream(path: Path, threads: bool = True) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The file and the video stream that a player shows, which is no cover picture. Raises BadInput.

    Args:
        threads: decode with several. Where one of them meets damage, PyAV may lose the frames that the others have
            ready, so that what comes out would depend on the number of cores; one thread never loses any.
    """
    with open_container(path) as container:
        streams = films_of(container)
        if not streams:
            kinds = ", ".join(sorted({s.type for s in container.streams})) or "no streams"
            raise BadInput(f"{path}: holds no video stream (only {kinds}); name a file with pictures")
        if len(streams) > 1 and all(s.frames == 1 for s in streams):
            raise BadInput(
                f"{path}: holds {len(streams)} single pictures (the tiles of a HEIC photo?), none of which is the "
                "whole; convert it to PNG"
            )
        stream = max(streams, key=_preference)  # the first of the likeliest
        if stream.codec_context is None:
            raise BadInput(f"{path}: its video codec is unknown to the installed PyAV; convert it to H.264")
        limit_decoder(stream, path)
        if threads:
            stream.thread_type = "AUTO"
        else:
            stream.thread_count = 1
        yield container, stream


def _preference(stream: VideoStream) -> tuple[bool, bool]:
    """A player shows the default stream, and of an animated AVIF not the still picture beside it."""
    return bool(stream.disposition & av.stream.Disposition.default), stream.frames != 1


def films_of(container: InputContainer) -> list[VideoStream]:
    """The video streams that are neither cover pictures nor the transparency of an AVIF picture."""
    cover = av.stream.Disposition.attached_pic
    return [s for s in container.streams.video if not (s.disposition & cover or _is_alpha(s))]


def _is_alpha(stream: VideoStream) -> bool:
    return stream.frames == 1 and stream.metadata.get("title") == "Alpha"  # as FFmpeg calls it


def promised_frames(container: InputContainer, stream: VideoStream) -> int:
    """How many frames the header promises, without those that an edit list of an mp4 leaves out at its end."""
    listed = len(stream.index_entries) if "mov" in container.format.name else stream.frames
    return min(stream.frames, listed)


def traits_of(container: InputContainer, stream: VideoStream, picture: VideoFrame) -> tuple[str, ...]:
    """What a player would do with these pictures beyond showing each as it is stored, for notes."""
    count, shape = len(films_of(container)), stream.sample_aspect_ratio
    told = {
        f"holds {count} video streams, of which number {stream.index} is read": count > 1,
        f"its pixels are {shape} times as wide as high and are taken as squares": shape not in (None, 0, 1),
        "interlaced: each picture holds two times, one in every other line": picture.interlaced_frame,
        f"HDR ({_HDR.get(picture.color_trc)}): its brightness is not mapped": picture.color_trc in _HDR,
        "its transparency is not read": (
            stream.metadata.get("alpha_mode") == "1" or any(map(_is_alpha, container.streams.video))
        )
        and not any(component.is_alpha for component in picture.format.components),
    }
    return tuple(note for note, holds in told.items() if holds)


def packets_of(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    """The packets of the stream as they are stored, up to the first place that cannot be read."""
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except MemoryError:  # FFmpeg's too, which must not be taken for damage
        raise
    except (av.FFmpegError, EOFError):
        return


def decoded(
    stream: VideoStream, packets: Iterable[av.Packet], damage: list[str] | None = None
) -> Iterator[VideoFrame]:
    """The frames of ``packets`` in the decoder's order, those included that it still holds at the end.

    Args:
        damage: is told of packets that cannot be decoded, and they are passed over. None: they raise DecodeFailed.
    """
    for packet in chain(packets, [None]):  # None makes the decoder hand out what it still holds
        try:
            yield from stream.codec_context.decode(packet)
        except EOFError:
            return
        except MemoryError:
            raise
        except av.FFmpegError as error:
            if damage is None:
                raise DecodeFailed from error
            damage.append(error.strerror or type(error).__name__)


def shown_frames(
    container: InputContainer,
    stream: VideoStream,
    damage: list[str] | None = None,
    watch: Callable[[Iterator[av.Packet]], Iterator[av.Packet]] = iter,
) -> Iterator[VideoFrame]:
    """Frames as a player shows them, from the beginning of the file on; frame 0 is the first that can be shown.

    A file that was cut or recorded without care begins between key frames, with changes to a picture that is not
    there. ``damage`` is as for ``decoded``; the packets pass through ``watch``.
    """
    stored = watch(packets_of(container, stream))
    first = next(stored, None)
    if first is None:
        return
    whole = first.is_keyframe or stream.codec_context.name in _HOLD_BACK
    for frame in decoded(stream, chain([first], stored), damage):
        whole = whole or bool(frame.key_frame)
        if whole:
            yield frame
