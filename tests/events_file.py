"""What TensorBoard shows of a directory, by its rules for files of several sessions."""

import pathlib
import struct

import numpy as np
from tensorboardX.proto import event_pb2


def shown(directory):
    """{(tag, step): value}; what a later file's start purges is gone, nothing is there twice."""
    found = {}
    for path in sorted(pathlib.Path(directory).glob("events.out.tfevents.*")):
        for event in _events(path.read_bytes()):
            if event.HasField("session_log"):
                assert event.session_log.status == event_pb2.SessionLog.START
                found = {key: value for key, value in found.items() if key[1] < event.step}
            for value in event.summary.value:
                assert (value.tag, event.step) not in found
                found[value.tag, event.step] = value.simple_value
    return found


def _events(data):
    """Of a file of TFRecords: length, its CRC, record, its CRC; a torn last one is left out."""
    while len(data) >= 16:
        (length,) = struct.unpack("<Q", data[:8])
        if len(data) < 16 + length:
            return
        yield event_pb2.Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


def written(records):
    """The same of metrics.jsonl's records."""
    return {
        (f"{record['split']}/{name}" + (f"/{key}" if key else ""), record["step"]): np.float32(x)
        for record in records
        for name, value in record.items()
        for key, x in (value if isinstance(value, dict) else {"": value}).items()
        if name not in ("step", "split") and x is not None
    }


def agree(directory, records):
    """Whether both have the same numbers, but for what only TensorBoard has."""
    found = {key: np.float32(x) for key, x in shown(directory).items()}
    return {k: x for k, x in found.items() if "images_per_second" not in k[0]} == written(records)
