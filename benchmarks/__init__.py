"""What detection costs, next to what others cost, as ratios to nothing in one run."""
