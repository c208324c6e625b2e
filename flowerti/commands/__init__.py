"""The commands of `flowerti`, one module each; `flowerti.cli` chooses among them."""
