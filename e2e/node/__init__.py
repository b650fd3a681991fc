"""A real one-node cluster with a kubelet, in network, mount and pid namespaces of its own.

Linux and root only. Nothing is installed on the machine, and ``stop`` leaves nothing behind.
"""
