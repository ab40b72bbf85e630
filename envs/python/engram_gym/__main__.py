"""The command line: `python -m engram_gym`.

engram-gym --stdin                       serves the actor at the other end of standard input
engram-gym --listen unix:/run/gym.sock   serves every actor that connects, each in a process
engram-gym --listen 127.0.0.1:7000       the same over TCP
"""

import argparse
import os
import signal
import socket
import subprocess
import sys


def main():
    parser = argparse.ArgumentParser(
        "engram-gym", description="Serves Gymnasium environments to Engram's actors."
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--stdin", action="store_true", help="serve the actor that started this process"
    )
    where.add_argument(
        "--listen", metavar="ADDR", help="serve all that connect: unix:/PATH or HOST:PORT"
    )
    where.add_argument("--descriptor", type=int, metavar="N", help=argparse.SUPPRESS)
    parser.add_argument(
        "--module",
        action="append",
        default=[],
        metavar="NAME",
        help="with --listen: a module that actors may name (`module`, or before an id's colon)",
    )
    arguments = parser.parse_args()
    # One process steps one group: threads of matrix products would only be in each other's way.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    try:
        if arguments.listen:
            listen(arguments.listen, arguments.module)
        elif arguments.stdin:
            # The actor gets it too, and ends its servers itself.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            serve(take_stdin(), None)
        else:
            serve(socket.socket(fileno=arguments.descriptor), arguments.module)
    except KeyboardInterrupt:
        pass


def serve(connection, modules):
    # Only now, so that threads of matrix products are told their number before.
    from .server import serve

    if connection.family != getattr(socket, "AF_UNIX", None):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    serve(connection, modules)


def take_stdin():
    """The socket that is standard input; what environments read and print goes elsewhere."""
    connection = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return connection


def listen(address, modules):
    listener = bind(address)
    print(f"engram-gym listens at {address}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "engram_gym"]
    for name in modules:
        command += ["--module", name]
    served = []
    while True:
        connection, _ = listener.accept()
        with connection:
            number = connection.fileno()
            served.append(
                subprocess.Popen([*command, "--descriptor", str(number)], pass_fds=[number])
            )
        # Those that have ended are waited for here.
        served = [process for process in served if process.poll() is None]


def bind(address):
    if address.startswith("unix:"):
        path = address[len("unix:") :]
        if os.path.exists(path):
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(path) == 0:
                    sys.exit(f"{path} is in use by another server")
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
    else:
        host, separator, port = address.rpartition(":")
        if not separator or not port.isdigit():
            sys.exit(f"--listen is {address}; it must be unix:/PATH or HOST:PORT")
        listener = socket.create_server((host.strip("[]"), int(port)))
        return listener
    listener.listen(64)
    return listener


if __name__ == "__main__":
    main()
