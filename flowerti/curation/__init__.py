"""Which drawn images the sweep trains with: filters that look at real training images only."""
