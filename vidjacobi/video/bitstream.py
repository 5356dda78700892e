"""What the first bytes of a packet say: whether a decoder that starts there shows every later picture as it is.

A container marks packets as key frames, and a mark is not enough. In a stream with intra refresh the marked pictures
are predicted from earlier ones, and the picture is whole only some frames later. H.264 and H.265 say in the packet
itself what it is; for other codecs the mark means an I-picture, after which nothing refers to what came before it.
"""

from dataclasses import dataclass, field

from vidjacobi.video.h264 import recovers_at_once, sequence
from vidjacobi.video.units import Units

# I-pictures cut these streams: what is displayed after one is never predicted from what is displayed before it.
_CUT_BY_MARK = frozenset(
    {
        *(
            "mpeg1video",
            "mpeg2video",
            "mpeg4",
            "h263",
            "flv1",
            "msmpeg4v2",
            "msmpeg4v3",
            "wmv1",
            "wmv2",
            "wmv3",
            "vc1",
        ),
        *(
            "vp8",
            "vp9",
            "av1",
            "theora",
            "mjpeg",
            "prores",
            "dnxhd",
            "ffv1",
            "huffyuv",
            "ffvhuff",
            "utvideo",
            "png",
        ),
        *("rawvideo", "v210", "cfhd", "jpeg2000"),
    }
)
# Their key packets may be the beginning of a refresh that takes many frames.
MAY_REFRESH = frozenset({"h264", "hevc"})


@dataclass
class Bitstream:
    """Reads the heads of the packets of one stream.

    Attributes:
        codec: as FFmpeg calls it.
        extradata: what the container keeps beside the packets.
        fields: whether pictures may be coded as two fields, each a packet of its own (H.264).
        spliced: whether the stream says that another was joined to it here (H.265): pictures are left out there.
    """

    codec: str
    extradata: bytes
    fields: bool = field(default=False, init=False)
    spliced: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._units = Units(self.codec, self.extradata)
        if self.codec == "h264":
            for unit in self._units.parameter_sets():
                self._note_fields(unit)

    def shows_all_after(self, packet: memoryview) -> bool:
        """Whether a decoder that begins at this key packet gives each picture displayed at or after it exactly."""
        if self.codec == "h264":
            return self._h264(packet)
        if self.codec == "hevc":
            return self._hevc(packet)
        return self.codec in _CUT_BY_MARK

    def _h264(self, packet: memoryview) -> bool:
        exact = False
        for unit in self._units.of(packet):
            kind = unit[0] & 31
            if kind == 7:
                self._note_fields(unit)
            elif kind == 6:
                exact = exact or recovers_at_once(unit)
            elif kind == 5:  # a slice of an IDR picture: everything decoded before it is forgotten
                return True
            elif 1 <= kind <= 4:
                return exact
        return False

    def _hevc(self, packet: memoryview) -> bool:
        for unit in self._units.of(packet):
            kind = unit[0] >> 1 & 63
            if kind < 32:  # the first slice
                self.spliced = self.spliced or 16 <= kind <= 18  # a BLA picture
                return 16 <= kind <= 21  # BLA, IDR, CRA: pictures from which decoding may start
        return False

    def _note_fields(self, unit: bytes) -> None:
        if unit and unit[0] & 31 == 7:
            try:
                self.fields = self.fields or not sequence(unit).frames_only
            except IndexError:  # it is cut off, and the decoder will say so
                self.fields = True
