"""Hides secrets in texts that are printed or written: credentials in addresses, and what secret variables hold.

This module only changes texts: it opens nothing and does not know what a text is about.
"""

import os
import re

HIDDEN = "***"
_PATTERNS = (
    # scheme://key:secret@, where the secret may hold slashes
    (re.compile(r"(\b[a-zA-Z][\w+.-]*://)[^\s/:@'\"]*:[^\s'\"]*@"), rf"\1{HIDDEN}@"),
    # scheme://token@, but not the container of an Azure address
    (re.compile(r"(\b(?!abfss?:|wasbs?:)[a-zA-Z][\w+.-]*://)[^\s/@'\"]+@"), rf"\1{HIDDEN}@"),
    # ?secret_key=..., &X-Amz-Signature=...
    (
        re.compile(r"(?i)([?&][\w-]*(?:key|secret|token|password|signature|credential|sig)[\w-]*=)[^&\s'\"]+"),
        rf"\1{HIDDEN}",
    ),
)
_SECRET_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN", "HF_TOKEN", "WANDB_API_KEY")
_MIN_SECRET_LENGTH = 8
"""A shorter value, such as "test", is no secret and may occur in any text."""


def masked(text: str) -> str:
    """The text with `***` in the place of secrets; a text without any comes back as it is."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    for name in _SECRET_VARIABLES:
        value = os.environ.get(name, "")
        if len(value) >= _MIN_SECRET_LENGTH:
            text = text.replace(value, HIDDEN)
    return text


def holds_credentials(address: str) -> bool:
    """Whether an address names a user, a key or a token."""
    return any(pattern.search(address) for pattern, _ in _PATTERNS)
