"""Tables of interchangeable rows: sources and arms are in this package, others beside the code that uses them.

Techniques and data sources are in `config`, which validates them; metrics are in `scoring`.
"""

from flowerti.tables.plugins import load_plugins as load_plugins
from flowerti.tables.plugins import plugins_environment as plugins_environment
from flowerti.tables.table import Table as Table
