"""From prompt text to conditioning: weights in parentheses, tokens, embeddings, encoders. Knows no diffusion model."""
