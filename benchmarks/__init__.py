"""What detection costs, as ratios to nothing in one run."""
