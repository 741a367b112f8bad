"""Past one machine: what a Ray cluster does with many processes on many nodes.

Ray starts processes, places them, finds out that a node is gone and starts its processes elsewhere.
Every node needs hashsearch installed, and the files under the same path: in storage that all nodes
share, or copied to each.
"""
