"""Distributed: devices, and several processes that train one task together."""
