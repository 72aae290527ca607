"""Files that are no scene, each made of a scene's file; numpy and zipfile fail on each in another way."""

import io
import struct
import zipfile

import numpy as np

NPY = b"\x93NUMPY\x01\x00"


def _marked(archive, at_file, at_directory, number):
    """A number of 16 bits in the headers of all members is another one."""
    content = bytearray(archive)
    for signature, place in ((b"PK\x03\x04", at_file), (b"PK\x01\x02", at_directory)):
        start = -1
        while (start := content.find(signature, start + 1)) >= 0:
            struct.pack_into("<H", content, start + place, number)
    return bytes(content)


def _of_header(text):
    """One array with this header, and no content."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("image_frames.npy", NPY + struct.pack("<H", len(text) + 1) + text.encode() + b"\n")
    return file.getvalue()


def _of_objects():
    file = io.BytesIO()
    np.savez(file, image_frames=np.array([[b"a"]], dtype=np.object_))
    return file.getvalue()


PETABYTE = "{'descr': '|u1', 'fortran_order': False, 'shape': (1125899906842624,)}"
ODD_FILES = {
    "empty": (lambda scene: b"", "wanted a scene written by numpy"),
    "text": (lambda scene: b"not a zip", "wanted a scene written by numpy"),
    "truncated": (lambda scene: scene[:-40], "wanted a scene written by numpy"),
    "without its beginning": (lambda scene: scene[1000:], "not a scene of plain arrays"),
    "pickled": (lambda scene: _of_objects(), "Object arrays cannot be loaded"),
    "encrypted": (lambda scene: _marked(scene, 6, 8, 1), "RuntimeError: .* encrypted"),
    "compressed as nobody does": (lambda scene: _marked(scene, 8, 10, 97), "NotImplementedError"),
    "an array, then an archive": (lambda scene: NPY + scene, "not a scene of plain arrays"),
    "a petabyte": (lambda scene: _of_header(PETABYTE), "MemoryError: Unable to allocate 1.00 PiB"),
    "an open bracket": (lambda scene: _of_header("{'descr': ('|u1', "), "not a scene of plain arrays"),
}
"""By name: made of the file's bytes, and what its error says."""
