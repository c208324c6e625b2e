"""What comes in several kinds, one table for each: sources and arms here, others beside the code that they are for.

Techniques and data sources stand in `config`, which checks them; metrics in `scoring`.
"""

from flowerti.tables.plugins import load_plugins as load_plugins
from flowerti.tables.plugins import plugins_environment as plugins_environment
from flowerti.tables.table import Table as Table
