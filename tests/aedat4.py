"""A writer of AEDAT4, the file format of CIFAR10-DVS.

A file is a magic line, a header and packets; header and packets are FlatBuffers, little-endian,
each after its size. The layouts below are those of the published schemas (dv-processing's
ioheader.fbs and event.fbs) with the fields in the order of the bytes.
"""

import struct

import numpy as np

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

DESCRIPTION = (
    '<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/">'
    '<node name="0" path="/mainloop/Recorder/outInfo/0/">'
    '<attr key="compression" type="string">NONE</attr>'
    '<attr key="typeIdentifier" type="string">EVTS</attr>'
    '<node name="info" path="/mainloop/Recorder/outInfo/0/info/">'
    '<attr key="sizeX" type="int">{width}</attr>'
    '<attr key="sizeY" type="int">{height}</attr>'
    "</node></node></node></dv>"
)


def _header(sensor_size):
    text = DESCRIPTION.format(width=sensor_size[0], height=sensor_size[1]).encode()
    body = struct.pack("<I4s", 20, b"IOHE")  # the table is at byte 20
    # Its vtable: sizes, no compression (the default, 0), position of the data table, description.
    body += struct.pack("<5H2x", 10, 16, 0, 8, 4)
    body += struct.pack("<iIq", 12, 12, -1)  # vtable 12 back, text 12 ahead, no data table
    body += struct.pack("<I", len(text)) + text + bytes(4 - len(text) % 4)
    return struct.pack("<I", len(body)) + body


def _packet(events):
    packed = np.zeros(len(events), EVENT)
    for name in EVENT.names:
        packed[name] = events[name]
    body = struct.pack("<I4s", 16, b"EVTS")  # the table is at byte 16
    body += struct.pack("<3H2x", 6, 8, 4)  # its vtable: sizes, the vector of events
    body += struct.pack("<iII", 8, 4, len(packed)) + packed.tobytes()
    # Stream 0, and the size of what follows, which is the buffer and its own size.
    return struct.pack("<iiI", 0, len(body) + 4, len(body)) + body


def write(path, events, sensor_size):
    """Writes a recording, uncompressed.

    Args:
      path: of the file, replaced if it is there.
      events: (N,) with fields t (microseconds, sorted), x, y (pixels) and p (ON).
      sensor_size: width and height, pixels.
    References: https://gitlab.com/inivation/dv/dv-processing, the FlatBuffers schemas.
    """
    with open(path, "wb") as file:
        file.write(MAGIC + _header(sensor_size))
        # A recording of no events is one empty packet: a file without any was cut off.
        for start in range(0, max(len(events), 1), PACKET_EVENTS):
            file.write(_packet(events[start : start + PACKET_EVENTS]))
