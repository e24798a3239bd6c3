"""`persistill demo`: the whole way on handwritten digits."""

from persistill.cli.options import (
    Changes,
    Device,
    Devices,
    DryRun,
    ExecutorName,
    Export,
    NodeRank,
    Nodes,
    Out,
    Quick,
    Rendezvous,
    Seeds,
    Workers,
)
from persistill.cli.run import run_named

SUMMARY = "Distill a topology-guided student on handwritten digits, in minutes."
EXAMPLES = ("persistill demo", "persistill demo --seeds 0 --out /tmp/demo")


def demo(
    out: Out = "runs",
    device: Device = "auto",
    seeds: Seeds = None,
    export: Export = None,
    changes: Changes = None,
    quick: Quick = False,
    dry_run: DryRun = False,
    devices: Devices = None,
    nodes: Nodes = None,
    node_rank: NodeRank = None,
    rendezvous: Rendezvous = None,
    workers: Workers = None,
    executor: ExecutorName = None,
) -> None:
    """Distill a topology-guided student on handwritten digits, in minutes.

    The digits ship with scikit-learn; nothing is downloaded. Two teachers are trained, one on the images and one on
    their persistence images, then students alone, with KD and with TGD, each on three seeds. It ends with a table, an
    HTML report and an exported student. Interrupted and run again, it goes on where it stopped.
    """
    run_named(
        "tgd_digits",
        "persistill demo",
        out,
        device,
        seeds,
        changes,
        export=export,
        quick=quick,
        dry_run=dry_run,
        processes=(devices, nodes, node_rank, rendezvous),
        workers=workers,
        executor=executor,
    )
