"""Makes a text-to-image base from labelled images; not in the installed package. `ray_jobs/pretrain.py` runs it."""
