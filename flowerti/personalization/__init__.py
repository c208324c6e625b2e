"""From a class's training images to what a technique learns of it, stored as files and a record.

`textual_inversion` and `lora` are techniques; all else here is shared by all and names none. It draws no images.
"""
