"""AEDAT4, the file format of CIFAR10-DVS: a writer, and a check of what a reader will be given.

A file is a magic line, a header and packets; header and packets are FlatBuffers, little-endian,
each after its size. The layouts below are those of the published schemas (dv-processing's
ioheader.fbs and event.fbs) with the fields in the order of the bytes.
"""

from __future__ import annotations

import contextlib
import os
import struct
import uuid
from xml.etree import ElementTree

import numpy as np

from lnm_jax.errors import ConfigError

MAGIC = b"#!AER-DAT4.0\r\n"
EVENT = np.dtype(
    {
        "names": ["t", "x", "y", "p"],
        "formats": ["<i8", "<i2", "<i2", "?"],
        "offsets": [0, 8, 10, 12],
        "itemsize": 16,
    }
)
PACKET_EVENTS = 65_536
MAX_HEADER = 1 << 24  # bytes; a description is some thousand

DESCRIPTION = (
    '<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/">'
    '<node name="0" path="/mainloop/Recorder/outInfo/0/">'
    '<attr key="compression" type="string">NONE</attr>'
    '<attr key="originalModuleName" type="string">lnm_jax</attr>'
    '<attr key="originalOutputName" type="string">events</attr>'
    '<attr key="typeDescription" type="string">Array of events (polarity ON/OFF).</attr>'
    '<attr key="typeIdentifier" type="string">EVTS</attr>'
    '<node name="info" path="/mainloop/Recorder/outInfo/0/info/">'
    '<attr key="sizeX" type="int">{width}</attr>'
    '<attr key="sizeY" type="int">{height}</attr>'
    '<attr key="source" type="string">lnm_jax</attr>'
    "</node></node></node></dv>"
)


def _header(sensor_size: tuple[int, int]) -> bytes:
    text = DESCRIPTION.format(width=sensor_size[0], height=sensor_size[1]).encode()
    body = struct.pack("<I4s", 20, b"IOHE")  # the table is at byte 20
    # Its vtable: sizes, no compression (the default, 0), position of the data table, description.
    body += struct.pack("<5H2x", 10, 16, 0, 8, 4)
    body += struct.pack("<iIq", 12, 12, -1)  # vtable 12 back, text 12 ahead, no data table
    body += struct.pack("<I", len(text)) + text + bytes(4 - len(text) % 4)
    return struct.pack("<I", len(body)) + body


def _packet(events: np.ndarray) -> bytes:
    packed = np.zeros(len(events), EVENT)
    for name in EVENT.names:
        packed[name] = events[name]
    body = struct.pack("<I4s", 16, b"EVTS")  # the table is at byte 16
    body += struct.pack("<3H2x", 6, 8, 4)  # its vtable: sizes, the vector of events
    body += struct.pack("<iII", 8, 4, len(packed)) + packed.tobytes()
    # Stream 0, and the size of what follows, which is the buffer and its own size.
    return struct.pack("<iiI", 0, len(body) + 4, len(body)) + body


def write(path: str | os.PathLike, events: np.ndarray, sensor_size: tuple[int, int]) -> None:
    """Writes a recording, uncompressed; the file appears whole or not at all.

    Args:
      path: of the file, replaced if it is there.
      events: (N,) with fields t (microseconds, sorted), x, y (pixels) and p (ON).
      sensor_size: width and height, pixels.
    Raises: ValueError for an event outside of the sensor.
    References: https://gitlab.com/inivation/dv/dv-processing, the FlatBuffers schemas.
    """
    width, height = sensor_size
    x, y = (np.asarray(events[name], np.int64) for name in "xy")
    if ((x < 0) | (x >= width) | (y < 0) | (y >= height)).any():
        raise ValueError(f"events outside of the {width}x{height} sensor")
    temporary = f"{os.fspath(path)}.{uuid.uuid4().hex}.part"
    try:
        with open(temporary, "xb") as file:
            file.write(MAGIC + _header(sensor_size))
            # A recording of no events is one empty packet: a file without any was cut off.
            for start in range(0, max(len(events), 1), PACKET_EVENTS):
                file.write(_packet(events[start : start + PACKET_EVENTS]))
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)


def check(path: str | os.PathLike) -> None:
    """Makes sure that a file has a header and that its XML description is well-formed.

    aedat 2.3 aborts the process on some descriptions that are not, with no exception to catch.

    Raises: ConfigError that names the file.
    """
    try:
        with open(path, "rb") as file:
            magic, size = file.read(len(MAGIC)), file.read(4)
            header = file.read(min(int.from_bytes(size, "little"), MAX_HEADER))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    if magic != MAGIC:
        raise ConfigError(f"{path}: not an AEDAT4 recording; unpack the data set again")
    start, stop = header.find(b"<dv"), header.rfind(b"</dv>")
    try:
        ElementTree.fromstring(header[max(start, 0) : stop + len(b"</dv>")])
    except (ElementTree.ParseError, ValueError) as error:
        raise ConfigError(
            f"{path}: the AEDAT4 header is cut off or damaged; unpack the data set again"
        ) from error
