"""Unpacks what a build needs of libtorch: `unpack.py cpu|cuda FOLDER FILE...`.

FILE is a wheel of torch or of one of NVIDIA's libraries. Headers go to FOLDER/include, libraries to
FOLDER/lib. zipfile checks the CRC of all it reads.

Exit status 3: the last line of the error output names a damaged file. 28: the disk is full.
"""

import errno
import os
import shutil
import sys
import zipfile
import zlib

# A CPU build needs these alone. libtorch.so of the wheel pulls in all of CUDA: it is left out.
CPU = {"libtorch_cpu.so", "libc10.so", "libgomp.so.1", "libcudart.so.13", "libcupti.so.13"}
PYTHON = {"libtorch_python.so", "libshm.so"}


def place(name, device):
    """Where a member goes, or None if it is not needed."""
    parts = name.split("/")
    if name.endswith("/") or ".." in parts or len(parts) < 3:
        return None
    if parts[:2] == ["torch", "include"]:
        return os.path.join(*parts[1:])
    if parts[-2] != "lib" or ".so" not in parts[-1] or parts[-1] in PYTHON:
        return None
    if device == "cuda" or parts[-1] in CPU:
        return os.path.join("lib", parts[-1])
    return None


def unpack(device, folder, file):
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            target = place(name, device)
            if target is None:
                continue
            target = os.path.join(folder, target)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with archive.open(name) as source, open(target, "wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)


def main():
    device, folder, *files = sys.argv[1:]
    for file in files:
        try:
            unpack(device, folder, file)
        except (zipfile.BadZipFile, zlib.error, EOFError):
            print(file, file=sys.stderr)
            sys.exit(3)
        except OSError as error:
            print(error, file=sys.stderr)
            sys.exit(28 if error.errno in (errno.ENOSPC, errno.EDQUOT) else 1)


main()
