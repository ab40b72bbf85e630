"""Fetches URL into FILE: `fetch.py URL FILE`. A part that is there already is continued."""

import os
import shutil
import sys
import urllib.error
import urllib.request

url, file = sys.argv[1:]
part = file + ".part"


def fetch():
    have = os.path.getsize(part) if os.path.exists(part) else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=60) as response:
        continued = getattr(response, "status", None) == 206
        expected = response.headers.get("Content-Length")
        with open(part, "ab" if continued else "wb") as sink:
            start = sink.tell()
            shutil.copyfileobj(response, sink, 1 << 20)
            if expected is not None and sink.tell() - start != int(expected):
                raise OSError(f"cut off after {sink.tell()} bytes")
    os.replace(part, file)


if not os.path.exists(file):
    try:
        try:
            fetch()
        except urllib.error.HTTPError as error:
            if error.code != 416:
                raise
            os.remove(part)  # The part does not fit what is published now.
            fetch()
    except OSError as error:
        sys.exit(f"{error}")
