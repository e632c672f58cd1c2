"""python -m cluster COMMAND, with tests/ on PYTHONPATH; see README.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cluster import box, host, parts
from cluster.errors import ClusterError
from cluster.images import Builder
from cluster.layout import Layout
from cluster.node import Node, Stopwatch


def main() -> int:
    arguments = _parser().parse_args()
    try:
        return _run(arguments, Node(Layout.of_user()))
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cluster", description="A real Kubernetes on this machine, for the tests."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="start it, and wait until everything answers")
    down = commands.add_parser("down", help="end all of it")
    down.add_argument("--purge", action="store_true", help="drop the images too")
    commands.add_parser("status", help="say whether it is up, what runs and how much memory that takes")
    commands.add_parser("images", help="build the project's image and the stand-ins; load them if it is up")
    load = commands.add_parser("load", help="load images from archives (docker save, buildah push)")
    load.add_argument("archives", nargs="+", type=Path, metavar="IMAGE.tar")
    commands.add_parser("parts", help="build or unpack the binaries only")
    commands.add_parser("env", help='print what a shell needs: eval "$(python -m cluster env)"')
    return parser


def _run(arguments: argparse.Namespace, node: Node) -> int:
    match arguments.command:
        case "up":
            node.up()
        case "down":
            node.down(purge=arguments.purge)
        case "status":
            return _print_status(node)
        case "images":
            _make_images(node)
        case "load":
            for archive in arguments.archives:
                node.load_archive(archive.absolute())
        case "parts":
            parts.ensure(node.layout)
        case "env":
            print(f"export KUBECONFIG={node.layout.kubeconfig}")
            print(f"export PATH={node.layout.parts}:$PATH")
    return 0


def _make_images(node: Node) -> None:
    host.require()
    parts.ensure(node.layout)
    watch = Stopwatch()
    builder = Builder(node.layout)
    for image in (*builder.stand_ins(), builder.project()):
        if node.is_up() and node.load(image):
            watch.lap(f"loaded {image.name}")
        else:
            watch.lap(f"{image.name} is there")


def _print_status(node: Node) -> int:
    made = box.find(node.layout)
    if made is None:
        print("down")
        return 3
    state = "up" if node.is_up() else "starting"
    print(f"{state}; {len(made.processes())} processes, {made.memory_bytes() / 2**20:.0f} MiB")
    print(node.kubectl("get", "nodes,pods", "--all-namespaces").stdout, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
