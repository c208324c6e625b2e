"""The modules that import Ray: one file a stage, and the session that all of them share.

A stage here plans its work, leaves out what the run directory already holds, lets Ray run the plain functions and
classes of the package on what is missing, and frees its actors before it returns.
"""
