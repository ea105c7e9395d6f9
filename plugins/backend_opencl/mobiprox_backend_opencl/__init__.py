"""Runs execution plans on the OpenCL devices of this machine."""
