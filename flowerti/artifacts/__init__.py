"""Typed records that stages exchange, and the run directory that stores them. It does not know any stage."""
