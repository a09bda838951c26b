"""What the attacks share: sizes, statistics, floods, and proxies."""
