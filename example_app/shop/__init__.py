"""The shop's business code, with the mistakes people make next to their cures."""
