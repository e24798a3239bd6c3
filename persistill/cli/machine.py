"""Which machine this is of those that a training was started on: what --devices, --nodes and their like say."""

import socket
from typing import NamedTuple

from persistill.errors import UserError


class Machine(NamedTuple):
    """A machine among those that train together.

    Attributes:
        devices: of this machine, and of each other one.
        nodes: how many machines there are.
        number: of this one, from 0.
        address: where the first process of the first one listens.
        port: likewise.
    """

    devices: int
    nodes: int
    number: int
    address: str
    port: int

    @property
    def size(self) -> int:
        """Processes on all machines."""
        return self.devices * self.nodes

    @property
    def first(self) -> int:
        """The rank of the first process here."""
        return self.devices * self.number


def find_machine(devices: int, nodes: int, number: int | None, rendezvous: str | None) -> Machine:
    """This machine among those that train together.

    Args:
        devices: of each machine.
        nodes: how many machines there are.
        number: of this one, from 0.
        rendezvous: HOST:PORT of the first one.

    Raises:
        UserError: if it does not fit together.
    """
    if nodes == 1:
        if number or rendezvous is not None:
            raise UserError(
                "--node-rank and --rendezvous are for several machines; add --nodes N, how many there are, or leave "
                "them out."
            )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            return Machine(devices, 1, 0, "127.0.0.1", free.getsockname()[1])
    if number is None or rendezvous is None:
        raise UserError(
            f"--nodes {nodes} is given on each of {nodes} machines, with what tells them apart, --node-rank 0 on the "
            f"first to --node-rank {nodes - 1} on the last, and with where they meet, --rendezvous HOST:PORT: the name "
            "of the first machine and a free port there, the same on all."
        )
    if number >= nodes:
        raise UserError(f"--node-rank {number} of --nodes {nodes}: machines are counted from 0 to {nodes - 1}.")
    host, _, port = rendezvous.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(
            f"--rendezvous {rendezvous!r} is no address: write HOST:PORT, the name of the first machine and a free "
            "port there, as in node1:29500."
        )
    return Machine(devices, nodes, number, host.strip("[]"), int(port))
