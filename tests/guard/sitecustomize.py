"""Imported by every Python that starts with this folder on its path: closes the network."""

import closed_network

closed_network.install()
