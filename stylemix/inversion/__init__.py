"""From a photo to its latent (GAN inversion): encoder, optimisation, refinement, latent files."""
