"""Several clusters that share their roots, joined as people join them, over links that can fail."""
