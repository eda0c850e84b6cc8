"""Distributed: devices and precision, and several processes that train one task together."""
