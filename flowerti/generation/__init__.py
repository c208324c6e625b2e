"""Generation of synthetic images, in shards, with the frozen base and learnt parameters; nothing is trained here."""
