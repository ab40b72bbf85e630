"""A connection, from the first message to the last."""

import json
import sys
import traceback

from . import wire
from .group import Group, check
from .spaces import Refused


def serve(connection, allowed_modules=None):
    """Serves one actor until it closes the connection. An error is told to it, and ends it too.

    `allowed_modules` are the modules that the actor may have imported; None: any.
    """
    group, channel = None, wire.Channel(connection)
    try:
        group = _make(channel, allowed_modules)
        _play(channel, group)
    except (wire.Closed, ConnectionError):
        pass
    except Exception as error:
        text = _explain(error)
        print(text, file=sys.stderr, flush=True)
        try:
            channel.send(wire.ERROR, text.encode())
        except OSError:
            pass
    finally:
        if group is not None:
            group.forget_file()
            group.close()
        channel.close()


def _make(channel, allowed_modules):
    kind, payload = channel.receive()
    if kind != wire.MAKE:
        raise Refused(f"the first message is of kind {kind}; it must be MAKE ({wire.MAKE})")
    settings = json.loads(bytes(payload))
    check(settings)
    _check_modules(settings, allowed_modules)
    group = Group(settings)
    spec = group.spec()
    channel.send_json(wire.SPEC, spec)
    if spec["shared"] is not None:
        kind, payload = channel.receive()
        group.attached(opened=kind == wire.ATTACHED and payload[0] == 1)
    return group


def _check_modules(settings, allowed):
    if allowed is None:
        return
    # Gymnasium imports what stands before a colon in an id.
    names = {settings.get("module"), settings["id"].rpartition(":")[0]} - {None, ""}
    for name in sorted(names - set(allowed)):
        raise Refused(
            f"this server does not import `{name}` for an actor; start it with --module {name}"
        )


def _play(channel, group):
    while True:
        kind, payload = channel.receive()
        if kind == wire.STEP:
            channel.send_whole(group.step(payload))
        elif kind == wire.RENDER:
            _render(channel, group, int.from_bytes(payload, "little"))
        else:
            raise Refused(
                f"a message of kind {kind}; STEP ({wire.STEP}) or RENDER ({wire.RENDER}) can follow"
            )


def _render(channel, group, row):
    picture = group.rows[row].picture()
    if isinstance(picture, str):
        payload = wire.PICTURE_SIZE.pack(0, 0) + picture.encode()
    else:
        height, width, _ = picture.shape
        payload = wire.PICTURE_SIZE.pack(width, height) + picture.tobytes()
    channel.send(wire.PICTURE, payload)


def _explain(error):
    """One sentence for what a user can mend; the last lines of the traceback for the rest."""
    if isinstance(error, Refused):
        return str(error)
    text = f"{type(error).__name__}: {error}"
    names = [cls.__module__.split(".")[0] for cls in type(error).__mro__]
    if "gymnasium" in names or isinstance(error, ImportError):
        return text
    where = "".join(traceback.format_tb(error.__traceback__)[-2:]).strip()
    return f"{text}\n{where}"
