"""The web service: galleries over HTTP, and a page to search them with.

A request passes the guards (:mod:`.guards`), is read within its limits (:mod:`.uploads`), waits for
a worker (:mod:`.workers`), and is answered from the newest generation of a gallery that there is
(:mod:`.shelf`), as a search (:mod:`.searches`) or with facts and pictures of items (:mod:`.items`).
:mod:`.app` joins them; :mod:`.server` runs that.
"""

from hashsearch.serve.app import create_app
from hashsearch.serve.limits import Limits
from hashsearch.serve.server import address, listen, network_address, run
from hashsearch.serve.shelf import Encoders, Shelf

__all__ = [
    "Encoders",
    "Limits",
    "Shelf",
    "address",
    "create_app",
    "listen",
    "network_address",
    "run",
]
